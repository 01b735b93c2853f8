#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use ::futures::future::poll_fn;
use mvm_spec::control::*;
use russh::keys::ssh_key::LineEnding;
use russh::keys::*;
use russh::*;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::*;
use tokio_util::compat::*;
type Stream = Compat<yamux::Stream>;
struct H;
impl client::Handler for H {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> std::result::Result<bool, Self::Error> { Ok(true) }
}
type Opener = mpsc::Sender<oneshot::Sender<Stream>>;
async fn open(o: &Opener, kind: StreamKind) -> Stream {
    let (s, r) = oneshot::channel();
    o.send(s).await.unwrap();
    let mut st = r.await.unwrap();
    st.write_all(&[kind as u8]).await.unwrap();
    st.flush().await.unwrap();
    st
}
async fn login(o: &Opener, user: &str, key: &PrivateKey, cipher: cipher::Name) -> client::Handle<H> {
    let st = open(o, StreamKind::Ssh).await;
    let mut c = client::Config::default();
    c.preferred.kex = Cow::Owned(vec![kex::CURVE25519]);
    c.preferred.cipher = Cow::Owned(vec![cipher]);
    let mut h = client::connect_stream(Arc::new(c), st, H).await.unwrap();
    assert!(h.authenticate_publickey(user, PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None)).await.unwrap().success());
    h
}
async fn exec(h: &client::Handle<H>, line: &str, input: &[u8]) -> (Vec<u8>, Vec<u8>, String) {
    let ch = h.channel_open_session().await.unwrap();
    ch.exec(true, line).await.unwrap();
    let (mut r, w) = ch.split();
    let (mut o, mut e, mut s) = (vec![], vec![], String::new());
    tokio::join!(async { let _ = w.data(input).await; let _ = w.eof().await; }, async {
        while let Some(m) = r.wait().await {
            match m { ChannelMsg::Data { data } => o.extend_from_slice(&data), ChannelMsg::ExtendedData { data, .. } => e.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => s = exit_status.to_string(), ChannelMsg::ExitSignal { signal_name, .. } => s = format!("{signal_name:?}"), _ => {} }
        }
    });
    (o, e, s)
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t0 = Instant::now();
    let sock = loop { if let Ok(s) = tokio::net::UnixStream::connect(&a[1]).await { break s } tokio::time::sleep(std::time::Duration::from_millis(5)).await; };
    let (opener, mut req) = mpsc::channel::<oneshot::Sender<Stream>>(8);
    let mut conn = yamux::Connection::new(sock.compat(), yamux::Config::default(), yamux::Mode::Client);
    tokio::spawn(async move { loop { tokio::select! {
        i = poll_fn(|c| conn.poll_next_inbound(c)) => match i { Some(Ok(_)) => {}, x => { println!("mux end {x:?}"); break } },
        Some(r) = req.recv() => { let s = poll_fn(|c| conn.poll_new_outbound(c)).await.unwrap(); let _ = r.send(s.compat()); } } } });
    let mut ctl = open(&opener, StreamKind::Control).await;
    let key = |_| PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let (hk, uk) = (key(0), key(1));
    let has = |w: &str| a.iter().any(|x| x == w);
    let cfg = GuestConfig {
        hostname: "shop".into(), machine_id: "0123456789abcdef0123456789abcdef".into(),
        time_unix_ns: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
        entropy: "ab".repeat(64), shares: Shares { software: SOFTWARE_TAG.into(), project: has("project").then(|| PROJECT_TAG.into()) },
        home_disk: has("home"), network: has("net").then(|| GuestNetwork { mac: "02:00:5e:10:00:01".parse().unwrap(), address: "192.168.100.10/24".parse().unwrap(), gateway: "192.168.100.1".parse().unwrap(), dns: vec!["192.168.100.1".parse().unwrap()], domain: Some("mvm".into()), mtu: 1500 }),
        user: mvm_spec::v1::User { name: "dev".into(), uid: 1000, gid: 1000 },
        ssh: GuestSsh { host_key: hk.to_openssh(LineEnding::LF).unwrap().to_string(), authorized_keys: vec![uk.public_key().to_openssh().unwrap()] },
        environment: [("GREETING".to_string(), "hello".to_string())].into(),
    };
    std::fs::write("/tmp/gt/user_key", uk.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    let send = |m: ToGuest| { let j = serde_json::to_vec(&m).unwrap(); let mut f = (j.len() as u32).to_be_bytes().to_vec(); f.extend(j); f };
    ctl.write_all(&send(ToGuest::Configure(Box::new(cfg)))).await.unwrap(); ctl.flush().await.unwrap();
    loop {
        let Ok(n) = ctl.read_u32().await else { println!("control closed"); return };
        let mut b = vec![0; n as usize]; ctl.read_exact(&mut b).await.unwrap();
        let m: ToHost = serde_json::from_slice(&b).unwrap();
        println!("{:8.1} ms {m:?}", t0.elapsed().as_secs_f64() * 1e3);
        if m == ToHost::Ready { break }
        if matches!(m, ToHost::Failed { .. }) { return }
    }
    let h = login(&opener, "dev", &uk, cipher::CHACHA20_POLY1305).await;
    println!("{:8.1} ms first login", t0.elapsed().as_secs_f64() * 1e3);
    let (o, e, s) = exec(&h, "true", b"").await;
    println!("{:8.1} ms first exec {s} {o:?} {e:?}", t0.elapsed().as_secs_f64() * 1e3);
    for line in std::fs::read_to_string("/tmp/gt/commands").unwrap_or_default().lines() {
        let t = Instant::now();
        let (user, line) = line.split_once(' ').unwrap();
        let h2 = login(&opener, user, &uk, cipher::CHACHA20_POLY1305).await;
        let (o, e, s) = exec(&h2, line, b"").await;
        println!("$ {user}: {line}\n{}{}[{s}] {:.1} ms", String::from_utf8_lossy(&o), String::from_utf8_lossy(&e), t.elapsed().as_secs_f64() * 1e3);
    }
    if has("bench") {
        for (n, c) in [("chacha", cipher::CHACHA20_POLY1305), ("aes256gcm", cipher::AES_256_GCM), ("aes128ctr", cipher::AES_128_CTR)] {
            let mut full = vec![]; let mut only = vec![]; let mut auth = vec![];
            for _ in 0..15 {
                let t = Instant::now();
                let h = login(&opener, "dev", &uk, c).await; auth.push(t.elapsed().as_secs_f64() * 1e3);
                let t2 = Instant::now();
                exec(&h, "true", b"").await; only.push(t2.elapsed().as_secs_f64() * 1e3);
                full.push(t.elapsed().as_secs_f64() * 1e3);
            }
            for v in [&mut full, &mut only, &mut auth] { v.sort_by(f64::total_cmp) }
            let t = Instant::now();
            let h = login(&opener, "dev", &uk, c).await;
            let (o, ..) = exec(&h, "head -c 20000000 /dev/zero", b"").await;
            let down = o.len() as f64 / 1e6 / t.elapsed().as_secs_f64();
            let t = Instant::now();
            let (o, ..) = exec(&h, "wc -c", &vec![0; 20_000_000]).await;
            println!("{n}: login+exec {:.1} ms, login {:.1}, exec {:.1}; down {down:.1} MB/s up {:.1} MB/s {}", full[7], auth[7], only[7], 20.0 / t.elapsed().as_secs_f64(), String::from_utf8_lossy(&o).trim());
        }
    }
    if has("flood") {
        let (o, _, s) = exec(&h, "cat", &vec![7; 30_000_000]).await;
        println!("cat {} [{s}]", o.len());
        let (o, ..) = exec(&login(&opener, "root", &uk, cipher::CHACHA20_POLY1305).await, "grep -E 'VmHWM|VmRSS' /proc/1/status", b"").await;
        println!("{}", String::from_utf8_lossy(&o));
    }
    if let Some(at) = a.iter().position(|x| x == "wait") { while !std::path::Path::new(&a[at + 1]).exists() { tokio::time::sleep(std::time::Duration::from_millis(50)).await; } }
    if has("vanish") { println!("vanishing"); std::process::exit(0) }
    let t = Instant::now();
    ctl.write_all(&send(ToGuest::PowerOff)).await.unwrap(); ctl.flush().await.unwrap();
    loop {
        let Ok(n) = ctl.read_u32().await else { println!("{:8.1} ms control closed", t.elapsed().as_secs_f64() * 1e3); return };
        let mut b = vec![0; n as usize]; ctl.read_exact(&mut b).await.unwrap();
        println!("{:8.1} ms after PowerOff {:?}", t.elapsed().as_secs_f64() * 1e3, serde_json::from_slice::<ToHost>(&b).unwrap());
    }
}
