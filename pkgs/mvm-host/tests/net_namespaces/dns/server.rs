//! A name server of the outside world.

use super::wire::{self, Record};
use crate::support::NetThread;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a server looks whether it shall end.
const TICK: Duration = Duration::from_millis(20);

/// It answers what its zone has; other names don't exist.
pub struct Server {
    zone: Arc<Mutex<HashMap<&'static str, Vec<Record>>>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server on `address`, by UDP and TCP, in the namespace of `thread`.
    pub fn start(thread: &NetThread, address: &'static str) -> Self {
        let (udp, tcp) =
            thread.call(move || (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
        udp.set_read_timeout(Some(TICK)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let mut server =
            Self { zone: Arc::default(), asked: Arc::default(), end: Arc::default(), threads: Vec::new() };
        let (answer, end) = (server.answerer(), server.end.clone());
        server.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, peer)) = udp.recv_from(&mut buffer) else { continue };
                // The peer may be gone.
                let _ = udp.send_to(&answer(&buffer[..length]), peer);
            }
        }));
        let (answer, end) = (server.answerer(), server.end.clone());
        server.threads.push(std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Ok((mut peer, _)) = tcp.accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                peer.set_nonblocking(false).unwrap();
                let mut length = [0; 2];
                while peer.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    peer.read_exact(&mut query).unwrap();
                    let answer = answer(&query);
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    peer.write_all(&[&length[..], &answer].concat()).unwrap();
                }
            }
        }));
        server
    }

    fn answerer(&self) -> impl Fn(&[u8]) -> Vec<u8> + Send + use<> {
        let (zone, asked) = (self.zone.clone(), self.asked.clone());
        move |query| {
            let (name, kind) = wire::question(query);
            asked.lock().unwrap().push((name.clone(), kind));
            match zone.lock().unwrap().get(name.as_str()) {
                Some(records) => {
                    let records: Vec<_> = records.iter().filter(|r| r.answers(kind)).cloned().collect();
                    wire::answer(query, 0, 300, &records)
                }
                None => wire::answer(query, wire::NXDOMAIN, 300, &[]),
            }
        }
    }

    /// What it answers about `name` from now on.
    pub fn set(&self, name: &'static str, records: &[Record]) {
        self.zone.lock().unwrap().insert(name, records.to_vec());
    }

    /// Names and types it was asked for since the last call.
    pub fn asked(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("the name server has panicked");
            }
        }
    }
}
