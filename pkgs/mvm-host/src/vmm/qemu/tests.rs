use super::*;
use crate::vmm::{Share, Tap};

fn machine() -> Machine {
    Machine {
        name: "web-1".to_owned(),
        vcpu: 2,
        mem_mib: 512,
        accelerator: Accelerator::Tcg,
        platform: Platform::Microvm,
        origin: Origin::Boot,
        kernel: "/boot/kernel".into(),
        initramfs: "/boot/initramfs".into(),
        tsc_khz: Some(2_300_000),
        extra_cmdline: vec!["mvm.example".to_owned()],
        shares: vec![
            Share { tag: "mvm-software".to_owned(), fd: 10 },
            Share { tag: "a,b".to_owned(), fd: 11 },
        ],
        tap: Some(Tap { fd: 12, mac: "02:00:5e:10:00:01".parse().unwrap() }),
        home: Some(13),
        mux: 14,
        qmp: Some(15),
    }
}

/// One line an option.
fn text(machine: &Machine) -> String {
    let args = arguments(machine);
    let mut text = String::new();
    for arg in args.iter().map(|arg| arg.to_str().unwrap()) {
        let separator = if text.is_empty() {
            ""
        } else if arg.starts_with('-') {
            "\n"
        } else {
            " "
        };
        text += &format!("{separator}{arg}");
    }
    text
}

#[test]
fn arguments_of_an_emulated_microvm() {
    insta::assert_snapshot!(text(&machine()));
}

#[test]
fn arguments_of_a_microvm_with_kvm() {
    insta::assert_snapshot!(text(&Machine { accelerator: Accelerator::Kvm, tsc_khz: None, ..machine() }));
}

#[test]
fn arguments_of_an_emulated_pc() {
    insta::assert_snapshot!(text(&Machine { platform: Platform::Q35, ..machine() }));
}

#[test]
fn arguments_of_a_bare_machine() {
    let bare = Machine {
        vcpu: 1,
        extra_cmdline: Vec::new(),
        shares: Vec::new(),
        tap: None,
        home: None,
        qmp: None,
        ..machine()
    };
    insta::assert_snapshot!(text(&bare));
}

#[test]
fn versions_are_read_as_distributions_write_them() {
    let version = |text: &str| parse_version(text).map(|(version, _)| (version.major, version.minor));
    assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\n…"), Some((7, 2)));
    assert_eq!(version("QEMU emulator version 10.0.0"), Some((10, 0)));
    assert_eq!(version("QEMU emulator version 9.0.1 (qemu-kvm-9.0.1-2.el9)"), Some((9, 0)));
    assert_eq!(version("bash, something else"), None);
    assert_eq!(version(""), None);
}

#[test]
fn an_old_qemu_is_refused_with_what_to_do() {
    let qemu = |text: &str| Qemu::new("/bin/q".into(), text);
    let error = qemu("QEMU emulator version 6.2.0").unwrap_err().to_string();
    assert!(error.contains("/bin/q is QEMU 6.2.0") && error.contains("7.0"), "{error}");
    assert!(qemu("QEMU emulator version 7.2.0").unwrap().boots_vmlinux_emulated());
    assert!(!qemu("QEMU emulator version 10.0.2").unwrap().boots_vmlinux_emulated());
}

#[test]
fn arguments_of_a_template() {
    let template = Machine {
        shares: Vec::new(),
        home: None,
        origin: Origin::Template { memory: "/memory/guest".into() },
        ..machine()
    };
    insta::assert_snapshot!(text(&template));
}

#[test]
fn arguments_of_a_restored_machine_and_of_its_devices() {
    let restored = Machine { origin: Origin::Restore { memory: "/memory/guest".into() }, ..machine() };
    let qemu = Qemu::new("/q".into(), "QEMU emulator version 7.2.0").unwrap();
    let devices: Vec<String> =
        qemu.plug(&restored).iter().map(|(command, arguments)| format!("{command} {arguments}")).collect();
    insta::assert_snapshot!(format!("{}\n\n{}", text(&restored), devices.join("\n")));
}

#[test]
fn a_restored_machine_is_its_template_but_for_where_it_comes_from() {
    // What differs here would be refused by QEMU, or worse, not be noticed.
    let network = machine().tap;
    let cases = [(Accelerator::Tcg, None), (Accelerator::Tcg, network.clone()), (Accelerator::Kvm, network)];
    for (accelerator, tap) in cases {
        let bare = Machine { shares: Vec::new(), home: None, accelerator, tap, ..machine() };
        let memory = PathBuf::from("/memory/guest");
        let mut template = Machine { origin: Origin::Template { memory: memory.clone() }, ..bare.clone() };
        if let Some(tap) = &mut template.tap {
            tap.mac = "02:00:5e:10:00:99".parse().unwrap();
        }
        let restored = Machine { origin: Origin::Restore { memory }, ..bare };
        let from = ["-kernel", "-initrd", "-append", "-incoming"];
        let rest = |machine: &Machine| -> Vec<String> {
            text(machine)
                .lines()
                .filter(|line| !from.iter().any(|option| line.starts_with(option)))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(rest(&template), rest(&restored));
    }
}
