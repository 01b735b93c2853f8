//! The project: copied on write, never changed.

use crate::harness::{As, Realm, snapshot};

const MISCHIEF: &str = r#"
    echo changed > file; echo new > created; rm removed; chmod 755 mode; ln -s target link; mkdir -p deep/er
    mv renamed new-name; mv tree moved; ln file hard; touch -d 2001-01-01 file; truncate -s 0 emptied
    setfattr -n user.test -v value mode 2>/dev/null || true
    rm -r gone; mkdir gone; echo inside > gone/fresh
    git init -q . && git -c user.name=t -c user.email=t@t add -A && git -c user.name=t -c user.email=t@t commit -qm x
"#;

#[test]
fn the_hosts_directory_stays_as_it_is_whatever_the_guest_does() {
    for who in [As::Caller, As::Ordinary] {
        let realm = Realm::of(who);
        for file in ["file", "removed", "mode", "renamed", "tree/a", "tree/b/c", "emptied", "gone/old"] {
            realm.write(file, "original\n");
        }
        let before = snapshot(&realm.project());
        realm.ok(["create", "box", "--start"]);
        realm.sh("box", MISCHIEF);
        assert_eq!(
            realm.sh("box", "cat file created moved/b/c gone/fresh; ls gone; git status --short | wc -l"),
            "changed\nnew\noriginal\ninside\nfresh\n0\n"
        );
        realm.ok([
            "exec",
            "--root",
            "box",
            "--",
            "sh",
            "-c",
            "echo root > file; rm -rf tree moved; touch by-root",
        ]);
        assert_eq!(snapshot(&realm.project()), before);
        realm.ok(["stop", "box", "--yes"]);
        assert_eq!(snapshot(&realm.project()), before);
    }
}

#[test]
fn copies_never_see_each_others_changes() {
    let realm = Realm::new();
    realm.write("file", "original\n");
    realm.ok(["create", "box", "--copies", "2", "--start"]);
    realm.sh("box-1", "echo one > file; echo one > only");
    realm.sh("box-2", "test ! -e only; echo two > file");
    assert_eq!(realm.sh("box-1", "cat file"), "one\n");
    assert_eq!(realm.sh("box-2", "cat file"), "two\n");
    assert_eq!(std::fs::read_to_string(realm.project().join("file")).unwrap(), "original\n");
}

#[test]
fn changes_are_gone_after_a_stop_and_the_stop_says_so() {
    let realm = Realm::new();
    realm.write("file", "original\n");
    realm.ok(["create", "box", "--start"]);
    realm.sh("box", "echo changed > file; echo x > ~/note");
    let output = realm.output(["stop", "box", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("1 ") && said.contains("chang"), "says how much is lost: {said}");
    realm.ok(["start", "box"]);
    assert_eq!(realm.sh("box", "cat file; test ! -e ~/note"), "original\n");
}

#[test]
fn with_persist_project_and_home_survive_a_stop() {
    let realm = Realm::of(As::Ordinary);
    realm.write("file", "original\n");
    realm.ok(["create", "box", "--persist", "--home-size", "64M", "--start"]);
    realm.sh("box", "echo changed > file; echo kept > ~/note; rm -f nothing");
    realm.ok(["stop", "box"]);
    realm.ok(["start", "box"]);
    assert_eq!(realm.sh("box", "cat file ~/note"), "changed\nkept\n");
    realm.ok(["restart", "box"]);
    assert_eq!(realm.sh("box", "cat file ~/note"), "changed\nkept\n");
    // Even when the guest had no chance to end in order.
    realm.sh("box", "echo again > file; sync");
    realm.ok(["stop", "--force", "box"]);
    realm.ok(["start", "box"]);
    assert_eq!(realm.sh("box", "cat file"), "again\n");
}

#[test]
fn software_is_built_in_the_copy() {
    let realm = Realm::of(As::Ordinary);
    realm.write("hello.c", "#include <stdio.h>\nint main(void) { puts(\"built in a guest\"); return 0; }\n");
    realm.write("Makefile", "hello: hello.c\n\t$(CC) -O1 -o $@ $<\n");
    let output = realm.output(["run", "--", "sh", "-ec", "make -s && ./hello"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "built in a guest\n", "{output:?}");
    assert!(!realm.project().join("hello").exists());
}
