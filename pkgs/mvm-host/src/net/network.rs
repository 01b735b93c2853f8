//! The realm's network as a whole: the parts in the right order, and what is known of them.

use super::counters::{self, Denied};
use super::link::{BridgePlan, Lifetime, Links, TapPlan};
use super::ruleset::{self, BridgeRules, Guest, HostService, NatForward, Outside, Ruleset, TABLE, shape};
use super::watch::Deletions;
use super::{NetworkPlan, generation, nft, sysctl, uplink};
use crate::realm::RealmKind;
use crate::{Error, Result};
use mvm_spec::VmName;
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use sysctl::Forwarding;
use tokio::sync::Mutex;

/// The network as it stands, and its connection to the kernel. For use on the network thread; one change at a time.
#[derive(Debug)]
pub struct Network {
    links: Links,
    kind: RealmKind,
    mtu: u32,
    serves_dns: bool,
    /// Without `nft` nothing is routed, and there are no rules to change.
    filtered: bool,
    /// What the rules should be: what there is, and no more.
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Without forwards.
    rules: Ruleset,
    forwards: Vec<NatForward>,
    /// Bridges that go with their last guest.
    of_guests: Vec<String>,
    /// Generations of the ruleset that were made here, the last of them.
    made: VecDeque<u32>,
    /// Guests whose taps others have made, and remove.
    adopted: BTreeSet<VmName>,
}

/// How many of them are remembered: more than can be made between a change and its announcement.
const MADE: usize = 256;

impl Network {
    /// Sets everything up that is there before the first VM; what is so already stays. The texts are warnings for the
    /// user.
    ///
    /// Errors: settings can't be made. A missing `nft` is a warning in a user realm, where nothing is routed then, and
    /// an error in the host realm, where guests would reach the host.
    pub async fn set_up(plan: NetworkPlan) -> Result<(Self, Vec<String>)> {
        let links = Links::open()?;
        let filtered = nft::installed() || plan.kind == RealmKind::Host;
        let mut warnings = Vec::new();
        if plan.kind == RealmKind::User {
            links.loopback_up().await?;
        }
        let rules = plan.rules();
        if filtered {
            // Rules first: at no time is anything routed without them.
            nft::apply(&ruleset::render(&rules)).await?;
            sysctl::apply(&sysctl::plan_namespace(plan.kind, Forwarding::On))?;
        } else {
            sysctl::apply(&sysctl::plan_namespace(plan.kind, Forwarding::Off))?;
            warnings.push(
                "`nft` is not installed: VMs have no way out of their network; install the package `nftables`, stop \
                 all VMs and start them again"
                    .to_owned(),
            );
        }
        let state = Mutex::new(State { rules, ..State::default() });
        let serves_dns = plan.services.contains(&HostService::Dns);
        Ok((Self { links, kind: plan.kind, mtu: plan.mtu, serves_dns, filtered, state }, warnings))
    }

    /// Makes a bridge, with its address, up, and its guests subject to the rules before there are any. One that is so
    /// already is left alone. Errors are those of [`Links::ensure_bridge`]; then nothing has changed.
    pub async fn ensure_bridge(&self, plan: &BridgePlan) -> Result<()> {
        let mut state = self.state.lock().await;
        let bridge = BridgeRules { name: plan.name.clone(), address: plan.address };
        let known = state.rules.bridges.contains(&bridge);
        if !known {
            // Not before the check: the interface could be somebody else's.
            self.links.check_bridge(plan).await?;
            let text = ruleset::add_bridge(&bridge);
            self.change(&mut state, &text, |state| state.rules.bridges.push(bridge.clone())).await?;
        }
        if let Err(error) = self.links.ensure_bridge(plan).await {
            if !known {
                let text = ruleset::remove_bridge(&bridge);
                // The first error is the one to report.
                let _ = self
                    .change(&mut state, &text, |state| state.rules.bridges.retain(|b| *b != bridge))
                    .await;
            }
            return Err(error);
        }
        if plan.lifetime == Lifetime::Guests && !state.of_guests.contains(&plan.name) {
            state.of_guests.push(plan.name.clone());
        }
        Ok(())
    }

    /// Connects the tap of a guest, from which it can send as itself only, and opens to it what it may reach. Its bridge and
    /// the tap must be there, which goes with its file ([`super::tap::open`]). A guest of that name that was there before
    /// is replaced.
    ///
    /// Errors: bridge or tap are missing, another guest has the address; then the guest is not connected.
    pub async fn add_guest(&self, guest: Guest) -> Result<()> {
        let mut state = self.state.lock().await;
        self.connect(&mut state, guest).await
    }

    /// As [`Self::add_guest`], for a guest whose tap somebody else has made and keeps.
    pub async fn adopt_guest(&self, guest: Guest) -> Result<()> {
        let mut state = self.state.lock().await;
        // Before anything can fail: what is removed after that must not be somebody else's tap.
        state.adopted.insert(guest.name.clone());
        self.connect(&mut state, guest).await
    }

    async fn connect(&self, state: &mut State, guest: Guest) -> Result<()> {
        self.check_guest(state, &guest)?;
        self.forget(state, &guest.name).await?;
        let (text, name) = (ruleset::add_guest(&state.rules, &guest), guest.name.clone());
        let tap = TapPlan { name: guest.tap.clone(), bridge: guest.bridge.clone(), mtu: self.mtu };
        // Rules first: a port of the bridge without them could send as anybody.
        self.change(state, &text, |state| state.rules.guests.push(guest)).await?;
        let attached = self.links.attach_tap(&tap).await;
        if attached.is_err() {
            // The first error is the one to report.
            let _ = self.links.release_tap(&tap.name).await;
            let _ = self.forget(state, &name).await;
        }
        attached
    }

    fn check_guest(&self, state: &State, guest: &Guest) -> Result<()> {
        let mut others = state.rules.guests.iter().filter(|other| other.name != guest.name);
        if let Some(other) = others.find(|other| other.address == guest.address) {
            return Err(Error::Failed(format!(
                "VM `{}` can't have the address {}: VM `{}` runs with it; make one of them anew",
                guest.name, guest.address, other.name
            )));
        }
        if !state.rules.bridges.iter().any(|bridge| bridge.name == guest.bridge) {
            return Err(Error::Failed(format!(
                "there is no bridge `{}` for VM `{}`",
                guest.bridge, guest.name
            )));
        }
        Ok(())
    }

    /// Removes a guest's rules and what is left of its tap, and its bridge if that was its own; already gone is success.
    /// A tap that was adopted is taken off the bridge, and stays. Goes on after an error, and returns the first.
    pub async fn remove_guest(&self, name: &VmName) -> Result<()> {
        let mut state = self.state.lock().await;
        let bridge = state.rules.guest(name).map(|guest| guest.bridge.clone());
        let link = match state.adopted.remove(name) {
            true => self.links.release_tap(&name.tap()).await,
            false => self.links.delete_link(&name.tap()).await,
        };
        let rules = self.forget(&mut state, name).await;
        let bridge = match bridge {
            Some(bridge) => self.release_bridge(&mut state, &bridge).await,
            None => Ok(()),
        };
        link.and(rules).and(bridge)
    }

    /// Removes the bridge if it goes with its guests and has none left.
    async fn release_bridge(&self, state: &mut State, name: &str) -> Result<()> {
        let used = state.rules.guests.iter().any(|guest| guest.bridge == name);
        if used || !state.of_guests.iter().any(|of_guests| of_guests == name) {
            return Ok(());
        }
        let link = self.links.delete_bridge(name).await;
        state.of_guests.retain(|of_guests| of_guests != name);
        let Some(bridge) = state.rules.bridges.iter().find(|bridge| bridge.name == name).cloned() else {
            return link;
        };
        let text = ruleset::remove_bridge(&bridge);
        let rules = self.change(state, &text, |state| state.rules.bridges.retain(|b| b.name != name)).await;
        link.and(rules)
    }

    async fn forget(&self, state: &mut State, name: &VmName) -> Result<()> {
        let Some(guest) = state.rules.guest(name).cloned() else { return Ok(()) };
        let text = ruleset::remove_guest(&state.rules, &guest);
        self.change(state, &text, |state| state.rules.guests.retain(|guest| guest.name != *name)).await
    }

    /// Replaces all forwards of packets from outside, by one transaction, whatever others have added or removed.
    pub async fn replace_forwards(&self, forwards: &[NatForward]) -> Result<()> {
        let mut state = self.state.lock().await;
        let text = ruleset::replace_forwards(forwards);
        self.change(&mut state, &text, |state| state.forwards = forwards.to_vec()).await
    }

    /// Opens, changes or closes the way out; the rest of the rules, and what they have counted, stays.
    pub async fn set_outside(&self, outside: Option<Outside>) -> Result<()> {
        let mut state = self.state.lock().await;
        let text = ruleset::render_outside(outside.as_ref());
        self.change(&mut state, &text, |state| state.rules.outside = outside).await
    }

    /// Replaces the addresses of the host that guests must not reach by the way out; without a way out nothing.
    pub async fn set_host_addresses(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.rules.outside.is_none() {
            return Ok(());
        }
        let text = ruleset::render_host_addresses(addresses);
        let replace = |state: &mut State| {
            if let Some(outside) = &mut state.rules.outside {
                outside.host_addresses = addresses.to_vec();
            }
        };
        self.change(&mut state, &text, replace).await
    }

    /// What the rules refused to a guest, since it came or since they were made anew.
    pub async fn denied(&self, name: &VmName) -> Result<Denied> {
        let guest = self.state.lock().await.rules.guest(name).cloned();
        match guest {
            Some(guest) if self.filtered => counters::read(&guest).await,
            Some(_) => Ok(Denied::default()),
            None => Err(Error::Failed(format!("VM `{name}` is not on the network"))),
        }
    }

    /// Whether all of `deletions` were made here.
    pub async fn made(&self, deletions: &Deletions) -> bool {
        // Waits for a change that is being made, and not noted yet.
        let state = self.state.lock().await;
        !deletions.more && deletions.generations.iter().all(|generation| state.made.contains(generation))
    }

    /// Whether the kernel's rules are still those that should be there, but for the elements of sets.
    pub async fn intact(&self) -> Result<bool> {
        let state = self.state.lock().await;
        if !self.filtered {
            return Ok(true);
        }
        let mut wanted = shape::of(&ruleset::render(&self.present(&state).await?));
        let mut found = shape::Shape::new();
        for family in ["inet", "netdev"] {
            match nft::list_terse(family, TABLE).await {
                Ok(text) => found.extend(shape::of(&text)),
                // Where there is none, there is nothing to list.
                Err(error) => tracing::debug!("{error}"),
            }
        }
        // A guest on its way out may have lost its tap, and still have its chain.
        found.retain(|key, _| wanted.contains_key(key));
        wanted.retain(|key, rules| found.get(key) != Some(rules));
        Ok(wanted.is_empty())
    }

    /// Renders all rules anew, from what is known here: after somebody else removed them. What allowed names have
    /// resolved to is forgotten, and counting begins again.
    pub async fn repair(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if !self.filtered {
            return Ok(());
        }
        let text = ruleset::render(&self.present(&state).await?);
        apply(&text, &mut state.made).await
    }

    /// The uplink's resolver, if guests are to ask it because nobody answers on their bridge.
    pub fn resolver(&self) -> Option<Ipv4Addr> {
        (!self.serves_dns).then_some(uplink::RESOLVER)
    }

    /// What to attach an uplink by ([`uplink::attach`]); none in the host realm, whose uplink is the host's own, and
    /// none without rules. `namespace` is where [`uplink::pin_namespace`] mounted the namespace.
    pub fn uplink_plan(&self, namespace: PathBuf) -> Option<uplink::UplinkPlan> {
        (self.filtered && self.kind == RealmKind::User).then_some(uplink::UplinkPlan { namespace })
    }

    /// Removes bridges and rules. Goes on after an error, and returns the first.
    pub async fn tear_down(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut result = Ok(());
        for bridge in &state.rules.bridges {
            result = result.and(self.links.delete_bridge(&bridge.name).await);
        }
        *state = State::default();
        match self.filtered {
            true => result.and(nft::apply(&ruleset::render_removal()).await),
            false => result,
        }
    }

    /// Applies `text` and notes the change. Where nft refuses it, somebody else has changed our rules: then all of them
    /// are rendered anew, with the change. If that fails, too, the change is not made.
    async fn change(&self, state: &mut State, text: &str, change: impl FnOnce(&mut State)) -> Result<()> {
        if self.filtered
            && let Err(refused) = apply(text, &mut state.made).await
        {
            let mut changed = state.clone();
            change(&mut changed);
            tracing::warn!("the nft rules are not as they were left, and are made anew: {refused}");
            let text = ruleset::render(&self.present(&changed).await?);
            apply(&text, &mut changed.made).await?;
            *state = changed;
        } else {
            change(state);
        }
        Ok(())
    }

    /// All rules, without guests whose tap has gone: nft refuses a chain for a missing device, and with it all the rest.
    async fn present(&self, state: &State) -> Result<Ruleset> {
        let mut rules = state.rules.clone();
        let taps = self.links.names().await?;
        rules.guests.retain(|guest| taps.contains(&guest.tap));
        rules.forwards = state.forwards.clone();
        Ok(rules)
    }
}

/// Applies `text`, and notes the generation of the ruleset that it made. Where others have made changes meanwhile, nothing
/// is noted: which one is ours can't be told then.
async fn apply(text: &str, made: &mut VecDeque<u32>) -> Result<()> {
    let before = generation::current();
    nft::apply(text).await?;
    match (before, generation::current()) {
        (Ok(before), Ok(after)) if before.wrapping_add(1) == after => {
            if made.len() == MADE {
                made.pop_front();
            }
            made.push_back(after);
        }
        (Ok(_), Ok(_)) => {}
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!("the generation of the nft ruleset is not known: {error}");
        }
    }
    Ok(())
}
