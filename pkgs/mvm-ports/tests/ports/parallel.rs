use super::support::*;
use mvm_host::realm::RealmKind;
use std::collections::HashSet;
use std::process::Stdio;

#[test]
fn a_hundred_commands_at_once_succeed_or_conflict_truly() {
    in_namespaces("parallel::a_hundred_commands_at_once_succeed_or_conflict_truly", || {
        let names: Vec<String> = (0..10).map(|vm| format!("vm-{vm}")).collect();
        let world = World::with_vms(RealmKind::User, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let _proxy = world.proxy();
        // Half of them run.
        names.iter().take(5).for_each(|name| world.up(name));
        // Ports 8000 to 8049, each wanted by two VMs.
        let children: Vec<_> = (0..100)
            .map(|n| {
                let vm = &names[n % 10];
                let wanted = format!("{}:{}", 8000 + (n * 7 + n / 50) % 50, 1000 + n % 10);
                let mut command = world.command(&["add", vm, &wanted]);
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                (vm.clone(), wanted, child)
            })
            .collect();
        let mut made = HashSet::new();
        let mut refused = Vec::new();
        for (vm, wanted, child) in children {
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => drop(made.insert((vm, forward(&wanted)))),
                code => refused.push((vm, wanted, code, String::from_utf8(output.stderr).unwrap())),
            }
        }
        let stored: HashSet<_> = names
            .iter()
            .flat_map(|name| world.stored(name).into_iter().map(move |forward| (name.clone(), forward)))
            .collect();
        assert_eq!(made, stored);
        assert_eq!(
            stored.iter().map(|(_, forward)| forward.host).collect::<HashSet<_>>().len(),
            stored.len()
        );
        for (vm, wanted, code, said) in &refused {
            assert_eq!(*code, Some(1), "{said}");
            let holder = stored.iter().find(|(_, held)| held.host == forward(wanted).host).unwrap();
            assert!(holder.0 != *vm || holder.1 != forward(wanted), "{vm} {wanted}: {said}");
            assert!(said.contains(&format!("VM {} ", holder.0)), "{vm} {wanted}: {said}");
        }
        assert_eq!(stored.len(), 50, "each port went to somebody");
        assert!(!refused.is_empty());
        world.assert_agreement("after a hundred");
        assert_eq!(world.ok(&["sync"]), "all forwards are as stored\n");
    });
}
