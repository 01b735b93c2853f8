//! The sessions of a UDP socket; of too many, that which was silent longest makes room.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client.
    pub client: SocketAddr,
    /// Which of the host's addresses it wrote to; none if the socket has but one.
    pub local: Option<IpAddr>,
}

/// Sessions by client, and in the order of their last use.
#[derive(Debug)]
pub struct Sessions<T> {
    most: usize,
    by_key: HashMap<Key, (u64, T)>,
    by_use: BTreeMap<u64, Key>,
    clock: u64,
}

impl<T> Sessions<T> {
    /// Room for `most`, at least one.
    pub fn new(most: usize) -> Self {
        Self { most, by_key: HashMap::new(), by_use: BTreeMap::new(), clock: 0 }
    }

    /// The session.
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.by_key.get(key).map(|(_, session)| session)
    }

    /// The session, which has been used now.
    pub fn touch(&mut self, key: &Key) -> Option<&T> {
        let (used, session) = self.by_key.get_mut(key)?;
        if *used != self.clock {
            self.by_use.remove(used);
            self.clock += 1;
            *used = self.clock;
            self.by_use.insert(self.clock, key.clone());
        }
        Some(session)
    }

    /// Adds a session that is not there; returns that which had to make room.
    pub fn insert(&mut self, key: Key, session: T) -> Option<T> {
        let oldest = if self.by_key.len() >= self.most {
            self.by_use.first_key_value().map(|(_, key)| key.clone())
        } else {
            None
        };
        let oldest = oldest.and_then(|key| self.remove(&key));
        self.clock += 1;
        self.by_use.insert(self.clock, key.clone());
        self.by_key.insert(key, (self.clock, session));
        oldest
    }

    /// Removes the session.
    pub fn remove(&mut self, key: &Key) -> Option<T> {
        let (used, session) = self.by_key.remove(key)?;
        self.by_use.remove(&used);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key { client: ([127, 0, 0, 1], port).into(), local: None }
    }

    #[test]
    fn the_session_that_was_silent_longest_makes_room() {
        let mut sessions = Sessions::new(3);
        for port in [1, 2, 3] {
            assert_eq!(sessions.insert(key(port), port), None);
        }
        assert_eq!(sessions.touch(&key(1)), Some(&1));
        assert_eq!(sessions.touch(&key(1)), Some(&1));
        assert_eq!(sessions.insert(key(4), 4), Some(2));
        assert_eq!(sessions.insert(key(5), 5), Some(3));
        assert_eq!(sessions.insert(key(6), 6), Some(1));
        assert_eq!(sessions.get(&key(1)), None);
        assert_eq!(sessions.remove(&key(4)), Some(4));
        assert_eq!(sessions.insert(key(7), 7), None);
        assert_eq!((sessions.by_key.len(), sessions.by_use.len()), (3, 3));
    }
}
