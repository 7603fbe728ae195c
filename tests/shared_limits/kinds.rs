//! Every kind of address leads to a store that counts.

use crate::common::forms::{self, BODY, TARGET, post};
use crate::common::store::{Redis, free_port};
use crate::common::{Gateway, Setup, Upstream};

/// Three at once, and what the store then has of the member.
fn counts(url: &str, shell: &str) {
    let upstream = Upstream::start();
    let rest = format!(
        "{}[limits.member]\nrate = \"1/h\"\nburst = 3\n\
         [limits.shared]\nurl = \"{url}\"\ntimeout = \"1s\"\nlease = 1\non_error = \"closed\"\n",
        forms::routes(&[upstream.address])
    );
    let setup = || Setup::of(rest.clone()).limits(shell);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let gateway = Gateway::with(setup());
        gateway.metric_reaches("widget_gateway_ratelimit_store_up", &[], 1.0);
        statuses.extend((0..2).map(|_| gateway.ask(post(TARGET, &[], BODY)).status));
    }
    assert_eq!(statuses, [200, 200, 200, 429], "{url}");
}

#[test]
fn a_socket_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("store.sock");
    let _redis = Redis::start(&["--unixsocket", socket.to_str().unwrap()]);
    counts(&format!("unix://{}", socket.display()), ":");
}

#[test]
fn a_database_of_its_own() {
    let redis = Redis::start(&[]);
    counts(&format!("{}/5", redis.url()), ":");
    assert_eq!(redis.say(&["DBSIZE"]), ":0\r\n");
}

#[test]
fn tls_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("store.pem"), folder.path().join("store.key"));
    std::fs::write(&cert, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    let files = [
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        cert,
    ];
    let redis = Redis::start(&[&tls[..], &files].concat());
    let url = redis.address().replace("127.0.0.1", "rediss://localhost");
    counts(&url, &format!("export SSL_CERT_FILE={cert}"));
    // Who is not trusted is not asked.
    let upstream = Upstream::start();
    let limits = format!("[limits.member]\nrate = \"1/h\"\n[limits.shared]\nurl = \"{url}\"\n");
    let gateway = Gateway::start(format!("{}{limits}", forms::routes(&[upstream.address])));
    gateway.wait_log("it is not asked", |line| {
        line["msg"] == "the store of limits is down" && line["reason"] == "connection"
    });
}

#[test]
fn the_nodes_of_a_cluster() {
    let bus = free_port().to_string();
    let redis = Redis::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-announce-ip",
        "127.0.0.1",
    ]);
    assert_eq!(redis.say(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK\r\n");
    let until = std::time::Instant::now() + crate::common::PATIENCE;
    while !redis.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        assert!(std::time::Instant::now() < until, "the cluster is whole");
        std::thread::yield_now();
    }
    counts(&format!("redis-cluster://{}", redis.address()), ":");
}

#[test]
fn the_master_that_sentinels_know() {
    let redis = Redis::start(&[]);
    let sentinel = Redis::sentinel(&redis);
    counts(&format!("redis-sentinel://{}/main", sentinel.address()), ":");
}
