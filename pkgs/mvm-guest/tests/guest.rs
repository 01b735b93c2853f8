//! The guest as its host sees it: the multiplexed connection, the control stream and SSH, with this machine and the
//! current user in place of a booted one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which may fail like tests do")]

mod common;

use common::{Guest, Outcome};
use mvm_spec::control::{StreamKind, ToGuest, ToHost};
use russh::{ChannelMsg, Pty, Sig};
use tokio::io::AsyncWriteExt;

/// Runs `test` with a guest that has been configured; every test ends in half a minute, well or not.
fn with_guest<F: Future<Output = ()>>(test: impl FnOnce(Guest) -> F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(120), async {
            test(Guest::start().await).await;
        })
        .await
        .expect("the test did not end in time");
    });
}

#[test]
fn the_host_hears_hello_steps_ready_and_the_end() {
    with_guest(|mut guest| async move {
        assert!(matches!(guest.heard[0], ToHost::Hello { protocol: 1, .. }), "{:?}", guest.heard);
        assert!(matches!(guest.heard[1], ToHost::Step { .. }), "{:?}", guest.heard);
        assert_eq!(guest.heard.last(), Some(&ToHost::Ready));
        guest.tell(&ToGuest::PowerOff).await;
        assert_eq!(guest.hear().await, Some(ToHost::PoweringOff));
        guest.ended().await;
    });
}

#[test]
fn a_host_that_is_gone_ends_the_guest() {
    with_guest(|guest| async move {
        let ended = guest.hang_up();
        ended.await;
    });
}

#[test]
fn a_configuration_that_fails_is_told() {
    with_guest(|mut guest| async move {
        let config = guest.config();
        guest.tell(&ToGuest::Configure(Box::new(config))).await;
        let Some(ToHost::Failed { message }) = guest.hear().await else { panic!("no failure") };
        assert!(message.contains("twice"), "{message}");
        guest.ended().await;
    });
}

#[test]
fn other_keys_and_other_users_are_refused() {
    with_guest(|guest| async move {
        assert!(guest.login("root-or-not", guest.user_key()).await.is_none());
        assert!(guest.login(&common::user_name(), common::key()).await.is_none());
        assert!(guest.login(&common::user_name(), guest.user_key()).await.is_some());
    });
}

#[test]
fn exit_codes_and_both_outputs_arrive_apart() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        for code in [0, 1, 7, 255] {
            let line = format!("echo out; echo err >&2; exit {code}");
            let outcome = ssh.exec(&line, b"").await;
            assert_eq!(outcome.stdout, b"out\n");
            assert_eq!(outcome.stderr, b"err\n");
            assert_eq!(outcome.status, Some(code));
        }
    });
}

#[test]
fn a_command_that_is_missing_or_no_program_is_left_to_the_shell() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let outcome = ssh.exec("no-such-command", b"").await;
        assert_eq!(outcome.status, Some(127));
        assert!(String::from_utf8_lossy(&outcome.stderr).contains("not found"), "{outcome:?}");
        // Executable, but without a first line that says by what: shells run it themselves.
        let script = guest.project().join("script");
        std::fs::write(&script, "echo \"script $1\"\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let outcome = ssh.exec("./script 'with argument'", b"").await;
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.status),
            (b"script with argument\n".as_slice(), Some(0))
        );
    });
}

#[test]
fn a_command_ended_by_a_signal_names_it() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        for name in ["KILL", "TERM", "USR2"] {
            let outcome = ssh.exec(&format!("kill -{name} $$"), b"").await;
            assert_eq!((outcome.status, outcome.signal.as_deref()), (None, Some(name)));
        }
    });
}

#[test]
fn a_signal_request_reaches_the_process_group() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let mut channel = ssh.session().await;
        channel
            .exec(true, "trap 'echo got it; exit 3' USR1; echo up; while :; do sleep 0.01; done")
            .await
            .unwrap();
        common::expect_output(&mut channel, b"up\n").await;
        channel.signal(Sig::USR1).await.unwrap();
        let outcome = Outcome::of(channel).await;
        assert_eq!((outcome.stdout.as_slice(), outcome.status), (b"got it\n".as_slice(), Some(3)));
    });
}

#[test]
fn standard_input_ends_where_the_client_ends_it() {
    with_guest(|guest| async move {
        let outcome = guest.ssh().await.exec("wc -c; echo end", b"12345").await;
        assert_eq!(outcome.stdout, b"5\nend\n");
    });
}

#[test]
fn variables_of_vm_and_client_reach_the_command() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let channel = ssh.session().await;
        channel.set_env(true, "FROM_CLIENT", "client value").await.unwrap();
        channel.exec(true, "echo \"$FROM_VM|$FROM_CLIENT|$HOME|$(pwd)|$TERM\"").await.unwrap();
        let outcome = Outcome::of(channel).await;
        let project = guest.project().display().to_string();
        assert_eq!(
            String::from_utf8(outcome.stdout).unwrap(),
            format!("vm value|client value|{project}|{project}|\n")
        );
    });
}

#[test]
fn a_flood_of_output_is_delivered_whole() {
    with_guest(|guest| async move {
        let outcome = guest.ssh().await.exec("head -c 50000000 /dev/zero", b"").await;
        assert_eq!((outcome.stdout.len(), outcome.status), (50_000_000, Some(0)));
    });
}

/// More than all pipes and windows hold, both ways at once: whoever waits for one side before the other locks up.
#[test]
fn a_flood_through_cat_comes_back_whole() {
    with_guest(|guest| async move {
        let input: Vec<u8> = (0..20_000_000u32).map(|at| (at % 251) as u8).collect();
        let outcome = guest.ssh().await.exec("cat", &input).await;
        assert!(outcome.stdout == input, "{} bytes came back", outcome.stdout.len());
    });
}

#[test]
fn input_that_nobody_reads_does_not_stop_the_output_nor_fill_the_memory() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let channel = ssh.session().await;
        channel
            .exec(true, "head -c 10000000 /dev/zero; read go < \"$HOME/go\"; cat > /dev/null; echo done")
            .await
            .unwrap();
        let fifo = guest.project().join("go");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut reader, writer) = channel.split();
        let flood = tokio::spawn(async move {
            let chunk = vec![0u8; 64 * 1024];
            for _ in 0..64 {
                writer.data(&chunk[..]).await.unwrap();
            }
            writer.eof().await.unwrap();
        });
        let mut received = 0;
        while received < 10_000_000 {
            if let ChannelMsg::Data { data } = reader.wait().await.expect("more output") {
                received += data.len();
            }
        }
        // Another session on the same connection works all the while.
        assert_eq!(ssh.exec("echo alive", b"").await.stdout, b"alive\n");
        assert!(!flood.is_finished(), "4 MiB were taken although nobody reads them");
        tokio::task::spawn_blocking(move || std::fs::write(fifo, "go\n")).await.unwrap().unwrap();
        flood.await.unwrap();
        let mut tail = Vec::new();
        while let Some(message) = reader.wait().await {
            if let ChannelMsg::Data { data } = message {
                tail.extend_from_slice(&data);
            }
        }
        assert_eq!(tail, b"done\n");
    });
}

#[test]
fn what_runs_in_the_background_does_not_hold_up_the_status() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let mut channel = ssh.session().await;
        channel.exec(true, "sleep 1000 & echo $!; exit 4").await.unwrap();
        let mut pid = Vec::new();
        loop {
            match channel.wait().await.expect("a status") {
                ChannelMsg::Data { data } => pid.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => {
                    assert_eq!(exit_status, 4);
                    break;
                }
                _ => {}
            }
        }
        let pid: i32 = String::from_utf8(pid).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    });
}

#[test]
fn a_client_that_is_gone_hangs_up_its_processes() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let mut channel = ssh.session().await;
        let mark = guest.project().join("hung-up");
        channel
            .exec(true, "trap 'echo > hung-up; exit' HUP; echo up; while :; do sleep 0.01; done")
            .await
            .unwrap();
        common::expect_output(&mut channel, b"up\n").await;
        channel.close().await.unwrap();
        while !mark.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_terminal_has_its_size_and_modes_and_is_resized() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let mut channel = ssh.session().await;
        channel.request_pty(true, "xterm-256color", 90, 31, 0, 0, &[(Pty::ECHO, 0)]).await.unwrap();
        channel
            .exec(true, "tty > /dev/null && stty size && stty -a | grep -o -- '-echo ' && echo $TERM; trap 'stty size; exit 5' WINCH; echo up; while :; do sleep 0.01; done")
            .await
            .unwrap();
        common::expect_output(&mut channel, b"31 90\r\n-echo \r\nxterm-256color\r\nup\r\n").await;
        channel.window_change(120, 40, 0, 0).await.unwrap();
        let outcome = Outcome::of(channel).await;
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), "40 120\r\n");
        assert_eq!(outcome.status, Some(5));
    });
}

#[test]
fn the_interrupt_key_interrupts_the_foreground() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let mut channel = ssh.session().await;
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[(Pty::ECHO, 0)]).await.unwrap();
        channel
            .exec(true, "trap 'echo interrupted; exit 6' INT; echo up; while :; do sleep 0.01; done")
            .await
            .unwrap();
        common::expect_output(&mut channel, b"up\r\n").await;
        channel.data(&b"\x03"[..]).await.unwrap();
        let outcome = Outcome::of(channel).await;
        assert!(String::from_utf8_lossy(&outcome.stdout).contains("interrupted"), "{outcome:?}");
        assert_eq!(outcome.status, Some(6));
    });
}

#[test]
fn a_login_shell_is_one() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let channel = ssh.session().await;
        channel.request_shell(true).await.unwrap();
        channel.data(&b"echo $0; exit 9\n"[..]).await.unwrap();
        let outcome = Outcome::of(channel).await;
        assert_eq!((outcome.stdout.as_slice(), outcome.status), (b"-sh\n".as_slice(), Some(9)));
    });
}

#[test]
fn a_forwarded_port_leads_to_the_guests_localhost() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = u32::from(listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let channel = ssh.handle.channel_open_direct_tcpip("localhost", port, "127.0.0.1", 1).await.unwrap();
        channel.data(&b"there and back"[..]).await.unwrap();
        channel.eof().await.unwrap();
        assert_eq!(Outcome::of(channel).await.stdout, b"there and back");
        server.await.unwrap();
        assert!(ssh.handle.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.is_err());
    });
}

#[test]
fn files_survive_the_round_trip_by_sftp() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        let channel = ssh.session().await;
        channel.request_subsystem(true, "sftp").await.unwrap();
        let sftp = russh_sftp::client::SftpSession::new(channel.into_stream()).await.unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 241) as u8).collect();
        let mut file = sftp.create("file").await.unwrap();
        file.write_all(&content).await.unwrap();
        file.shutdown().await.unwrap();
        assert!(std::fs::read(guest.project().join("file")).unwrap() == content);
        assert!(sftp.read("file").await.unwrap() == content);
        sftp.create_dir("dir").await.unwrap();
        sftp.symlink("file", "link").await.unwrap();
        assert_eq!(std::fs::read_link(guest.project().join("link")).unwrap().to_str(), Some("file"));
        sftp.rename("file", "dir/moved").await.unwrap();
        let names: Vec<_> = sftp.read_dir("dir").await.unwrap().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["moved"]);
        let home = guest.project().canonicalize().unwrap();
        assert_eq!(sftp.canonicalize(".").await.unwrap(), home.to_str().unwrap());
        assert!(sftp.read("missing").await.is_err());
        sftp.remove_file("dir/moved").await.unwrap();
        sftp.remove_dir("dir").await.unwrap();
        assert!(!guest.project().join("dir").exists());
    });
}

#[test]
fn a_directory_survives_the_round_trip_by_tar() {
    with_guest(|guest| async move {
        let ssh = guest.ssh().await;
        std::fs::create_dir_all(guest.project().join("tree/sub")).unwrap();
        std::fs::write(guest.project().join("tree/sub/file"), vec![1; 1_000_000]).unwrap();
        let program = env!("CARGO_BIN_EXE_mvm-guest");
        let archive = ssh.exec(&format!("{program} tar-create tree"), b"").await;
        assert_eq!((archive.status, archive.stderr.as_slice()), (Some(0), b"".as_slice()));
        let unpacked = ssh.exec(&format!("{program} tar-extract copy"), &archive.stdout).await;
        assert_eq!((unpacked.status, unpacked.stderr.as_slice()), (Some(0), b"".as_slice()));
        assert_eq!(std::fs::read(guest.project().join("copy/tree/sub/file")).unwrap(), vec![1; 1_000_000]);
        let missing = ssh.exec(&format!("{program} tar-create missing"), b"").await;
        assert_eq!(missing.status, Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("missing"));
    });
}

#[test]
fn a_stream_of_an_unknown_kind_harms_nobody() {
    with_guest(|guest| async move {
        let mut stream = guest.open().await;
        stream.write_all(&[99]).await.unwrap();
        stream.flush().await.unwrap();
        let mut second = guest.open().await;
        second.write_all(&[StreamKind::Control as u8]).await.unwrap();
        second.flush().await.unwrap();
        assert_eq!(guest.ssh().await.exec("echo well", b"").await.stdout, b"well\n");
    });
}
