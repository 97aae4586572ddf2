//! Redis and MySQL that speak TLS alone, with certificates of an authority that only the nodes' configuration names.

use std::process::Output;

use futures::future::join_all;
use testkit::{Authority, Certificate, Cluster, Options, OwnServer, Server, eventually};
use tokio::process::Command;

use crate::BINARY;
use crate::trouble::stands;

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_goes_from_node_to_node_by_tls_alone() {
    let authority = Authority::new("ours");
    let Some(mysql) = OwnServer::start_secure("mysql", &authority) else { return };
    for form in ["redis", "sentinel", "cluster"] {
        let Some(redis) = OwnServer::start_secure(form, &authority) else { return };
        let mut nodes = Cluster::secure(&redis, &mysql, BINARY, 2).await;
        // One that goes by what its system trusts, and by what an address of MySQL means that says nothing of TLS.
        let unsaid = nodes.mysql.split('?').next().unwrap().to_owned();
        let authorities = redis.authority_file().display().to_string();
        let by_system = |node: Options| node.env("BARRAGE__REDIS__CA_FILE", "").env("SSL_CERT_FILE", &authorities);
        nodes.join_as(|node| by_system(node).env("BARRAGE__STORE__URL", &unsaid)).await;
        let mut ann = nodes[0].viewer("ann", "hall").await;
        let mut bo = nodes[1].viewer("bo", "hall").await;
        ann.say("hello").await;
        bo.sees("hello").await;
        nodes[2].viewer("cy", "hall").await.say("hi ann").await;
        ann.sees("hi ann").await;
        for node in &nodes.nodes {
            stands(node, "ready").await;
            let replay = node.user("dee").get("rooms/hall/replay").await.expect(200);
            assert_eq!(replay["comments"].as_array().unwrap().len(), 2, "{form}: {replay}");
        }
    }
}

/// How a dependency of the node stands.
async fn state(node: &Server, dependency: &str) -> String {
    let ready = node.http().get("/readyz").await;
    ready.body["dependencies"][dependency]["state"].as_str().unwrap_or_default().to_owned()
}

/// Lines of the node's log that say both.
fn told(node: &Server, what: &str, why: &str) -> usize {
    node.log().lines().filter(|line| line.contains(what) && line.contains(why)).count()
}

/// A server that shows another certificate after a crash is away, and the log says why, once; with the right one it is back.
async fn only_the_right_certificate_will_do(
    node: &Server,
    server: &OwnServer,
    name: &str,
    log: &str,
    right: &Authority,
) {
    let starts_with = |certificate: Certificate| {
        server.kill();
        server.show(&certificate);
        server.restart();
    };
    let (stranger, elsewhere) = (Authority::new("a stranger").certify("127.0.0.1"), right.certify("elsewhere.example"));
    for (wrong, why) in [(stranger, "UnknownIssuer"), (elsewhere, "not valid for name")] {
        stands(node, "ready").await;
        starts_with(wrong);
        eventually("the reason in the log", async || (told(node, log, why) > 0).then_some(())).await;
        eventually("that it is away", async || (state(node, name).await == "away").then_some(())).await;
        starts_with(right.certify("127.0.0.1"));
        stands(node, "ready").await;
        assert_eq!((state(node, name).await.as_str(), told(node, log, why)), ("ok", 1), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_nobody_vouches_for_or_that_is_for_another_is_away_and_the_log_says_why() {
    let authority = Authority::new("ours");
    let Some(mysql) = OwnServer::start_secure("mysql", &authority) else { return };
    let Some(redis) = OwnServer::start_secure("redis", &authority) else { return };
    let nodes = Cluster::secure(&redis, &mysql, BINARY, 1).await;
    only_the_right_certificate_will_do(&nodes[0], &redis, "redis", "redis is away", &authority).await;
    only_the_right_certificate_will_do(&nodes[0], &mysql, "mysql", "the database is away", &authority).await;
}

/// What becomes of a node with these in its environment.
async fn serve(env: &[(&str, String)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path());
    command.env("BARRAGE__AUTH__HMAC_SECRET", testkit::SECRET).envs(env.iter().cloned()).kill_on_drop(true);
    command.output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_of_the_wrong_authority_says_so_and_does_not_start() {
    let authority = Authority::new("ours");
    let Some(mysql) = OwnServer::start_secure("mysql", &authority) else { return };
    let Some(redis) = OwnServer::start_secure("redis", &authority) else { return };
    let (dir, wrong) = (tempfile::tempdir().unwrap(), Authority::new("another"));
    let wrong_file = dir.path().join("wrong.pem").display().to_string();
    std::fs::write(&wrong_file, wrong.pem).unwrap();
    let right_file = redis.authority_file().display().to_string();
    let verified_by = |file: &str| mysql.address().replace(&mysql.authority_file().display().to_string(), file);
    let mode = |mode: &str| mysql.address().replace("VERIFY_IDENTITY", mode);
    let plain_mysql = format!("{}?ssl-mode=DISABLED", mysql.address().split('?').next().unwrap());
    let plain_redis = redis.address().replace("rediss", "redis");

    let cases = [
        (redis.address(), wrong_file.as_str(), mysql.address(), "redis is away", "UnknownIssuer"),
        (redis.address(), "", mysql.address(), "redis is away", "UnknownIssuer"),
        (plain_redis, "", mysql.address(), "redis is away", "error="),
        (redis.address(), &right_file, verified_by(&wrong_file), "cannot open the database", "UnknownIssuer"),
        (redis.address(), &right_file, plain_mysql, "cannot open the database", "Access denied"),
        (redis.address(), &right_file, verified_by("nowhere.pem"), "ssl-ca: nowhere.pem", "No such file"),
        (redis.address(), &right_file, mode("REQUIRED"), "ssl-ca is only looked at with", "VERIFY_IDENTITY"),
    ];
    join_all(cases.into_iter().map(async |(redis, ca_file, mysql, what, why)| {
        let env = [
            ("BARRAGE__REDIS__URL", redis),
            ("BARRAGE__REDIS__CA_FILE", ca_file.into()),
            ("BARRAGE__STORE__URL", mysql),
        ];
        let ended = serve(&env).await;
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success(), "{what}: {why}");
        assert!(said.lines().any(|line| line.contains(what) && line.contains(why)), "{what}: {why}: {said}");
    }))
    .await;
}
