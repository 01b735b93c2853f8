//! VMs in a world, each with an agent in it.

use crate::agent::{Agent, PYTHON};
use crate::world::World;
use serde_json::json;
use std::process::Stdio;

/// The port that guests serve on.
pub const PORT: u16 = 3000;

/// A running VM.
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its gateway.
    pub gateway: String,
    /// Its interface's address.
    pub mac: String,
    /// In it.
    pub agent: Agent,
}

impl World {
    /// Makes and starts VMs, all at once, in the order of the list as far as addresses go. Each is its name and options of
    /// `mvm create`, in words.
    #[track_caller]
    pub fn boot(&self, vms: &[&str]) -> Vec<Vm> {
        let names: Vec<_> = vms.iter().map(|vm| vm.split(' ').next().unwrap()).collect();
        for vm in vms {
            self.ok(["create", "--vcpu", "1", "--mem", "256"].into_iter().chain(vm.split(' ')));
        }
        self.ok(["start"].iter().chain(&names));
        let starting: Vec<_> = names.iter().map(|name| self.enter(name)).collect();
        starting.into_iter().map(|vm| vm.serve()).collect()
    }

    /// A VM that runs, with a new agent.
    #[track_caller]
    pub fn enter(&self, name: &str) -> Vm {
        let status = self.status(name);
        let find = |key: &str| {
            let found = status["spec"]["network"][key].as_str();
            let found = found.unwrap_or_else(|| panic!("{key} of {name}: {status}"));
            found.split('/').next().unwrap().to_owned()
        };
        let mut command = self.mvm(["exec", "--root", name, "--", PYTHON, "/project/agent/agent.py"]);
        command.stderr(Stdio::inherit());
        let agent = Agent::start(name, command);
        Vm {
            name: name.to_owned(),
            address: find("address"),
            gateway: find("gateway"),
            mac: find("mac"),
            agent,
        }
    }
}

impl Vm {
    /// Serves echoes, and records what arrives.
    #[track_caller]
    pub fn serve(self) -> Self {
        let any = "0.0.0.0";
        self.agent.serve(json!({"sniff": ["*"], "tcp": [[any, PORT]], "udp": [[any, PORT]]}));
        self
    }
}
