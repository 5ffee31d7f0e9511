//! A folder of dCache, against a protocol double (`dcache_double.py`; no dCache is installed):
//! events and listings agree, whatever is lost, cut or killed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
#[path = "harness/driven.rs"]
mod driven;
mod harness;
#[path = "harness/site.rs"]
mod site;

use driven::Driven;
use harness::secret;
use serde_json::Value;
use site::Site;

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

fn start(more: &str) -> Option<(Driven, Site)> {
    let (dcache, url) = Driven::start("dcache_double.py", "http.server")?;
    let sources = format!(
        "[[sources]]\nkind = \"dcache\"\nname = \"d\"\nendpoint = \"{url}\"\npath = \"/data/in\"\n\
         suffix = \".nc\"\ncredentials_file = \"token\"\n{more}"
    );
    let site = Site::new("", &sources);
    secret(&site.path("token"), "tok.en\n");
    Some((dcache, site))
}

fn subjects(jobs: &[Value]) -> Vec<&str> {
    let mut found: Vec<_> = jobs
        .iter()
        .map(|job| job["subject"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_file_is_one_event_whether_an_event_or_a_listing_tells_of_it() {
    let Some((mut dcache, mut site)) = start("") else {
        return;
    };
    // Before anybody looked; one of them is not whole yet.
    dcache.tell("put before.nc");
    dcache.tell("begin open.nc");
    dcache.tell("put other.txt");
    site.gateway.start();
    site.wait_source("d", connected);
    site.exactly(1);
    dcache.tell("end open.nc");
    dcache.tell("move a b+ü%.nc");
    dcache.tell("folder folder.nc");
    dcache.tell("put .hidden.nc");
    dcache.tell("put gone.txt");
    let jobs = site.exactly(3);
    let expected = [
        "/data/in/a b+ü%.nc",
        "/data/in/before.nc",
        "/data/in/open.nc",
    ];
    assert_eq!(subjects(&jobs), expected);
    assert!(jobs.iter().all(|job| job["type"] == "mizar.dcache.file"));
    let event = site.event(&jobs[0]);
    assert_eq!(event["data"]["size_bytes"], 3);
    // Written anew: another pnfsId, another event.
    dcache.tell("put before.nc");
    site.exactly(4);
    // Lost, and told so in either way: listed, and what was known is no news.
    dcache.tell("quiet lost-1.nc");
    dcache.tell("loss");
    site.exactly(5);
    dcache.tell("quiet lost-2.nc");
    dcache.tell("overflow");
    let jobs = site.exactly(6);
    let event = site.event(
        jobs.iter()
            .find(|job| job["subject"] == "/data/in/lost-2.nc")
            .unwrap(),
    );
    assert!(event["data"]["pnfs_id"].is_string(), "{event}");
    // What is no event, or no file for us, is buried, and all goes on.
    dcache.tell("send inotify no json");
    dcache.tell("forbid secret.nc");
    dcache.tell("put last.nc");
    site.exactly(7);
    let dead = site.dead();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(
        dead.iter()
            .any(|one| one["reason"].to_string().contains("403")),
        "{dead:?}"
    );
    assert_eq!(dcache.ask("channels"), "1 1", "one channel for all of it");
    assert!(!site.gateway.log().contains("tok.en"));
}

#[test]
fn a_killed_gateway_and_a_cut_stream_go_on_where_they_stopped() {
    let Some((mut dcache, mut site)) = start("") else {
        return;
    };
    site.gateway.start();
    site.wait_source("d", connected);
    dcache.tell("put 1.nc");
    site.exactly(1);
    // The stream is cut, and more comes: replayed after the last that is in the ledger.
    dcache.tell("cut");
    dcache.tell("put 2.nc");
    site.exactly(2);
    assert_eq!(dcache.ask("asked"), "- 0");
    // Received, not stored, killed; and more while nobody is there.
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    dcache.tell("put 3.nc");
    std::thread::sleep(std::time::Duration::from_millis(500));
    site.gateway.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    dcache.tell("cut");
    dcache.tell("put 4.nc");
    site.gateway.start();
    site.exactly(4);
    assert_eq!(dcache.ask("asked"), "- 0 1");
    assert_eq!(dcache.ask("channels"), "1 1");
    // Away for so long that the last event is forgotten.
    site.gateway.stop();
    dcache.tell("put 5.nc");
    dcache.tell("put 6.nc");
    dcache.tell("shrink");
    site.gateway.start();
    site.exactly(6);
    // The namespace is busy: tried again, nothing lost.
    dcache.tell("fail 2");
    dcache.tell("put 7.nc");
    let told = site.wait_source("d", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("503"),
        "{told}"
    );
    site.exactly(7);
    // The channel ended, as with dCache's own restart: a new one, and a listing.
    site.gateway.stop();
    dcache.tell("forget");
    dcache.tell("quiet 8.nc");
    site.gateway.start();
    site.exactly(8);
    assert_eq!(dcache.ask("channels"), "2 1");
    // So is a folder whose watch ended; the channel is given back.
    dcache.tell("quiet 9.nc");
    dcache.tell("ignored");
    site.exactly(9);
    assert_eq!(dcache.ask("channels"), "3 1");
    dcache.tell("put 10.nc");
    site.exactly(10);
    // And a channel that is another user's, as after a change of credentials.
    dcache.tell("quiet 11.nc");
    dcache.tell("stranger");
    let jobs = site.exactly(11);
    assert_eq!(subjects(&jobs).len(), 11);
    assert_eq!(site.dead().len(), 0);
    // Another reader of the channel, as a gateway that was cloned, is told and not fought over.
    dcache.tell(r#"send SYSTEM {"type":"COMPETING_CLIENT"}"#);
    let told = site.wait_source("d", |source| source["state"] == "failed");
    assert!(
        told["last_error"]
            .as_str()
            .unwrap()
            .contains("another client"),
        "{told}"
    );
}

#[test]
fn what_no_event_told_is_found_by_listing() {
    let Some((mut dcache, mut site)) = start("rescan_s = 1\n") else {
        return;
    };
    site.gateway.start();
    site.wait_source("d", connected);
    dcache.tell("quiet silent.nc");
    site.exactly(1);
    secret(&site.path("token"), "another\n");
    dcache.tell("cut");
    let told = site.wait_source("d", |source| source["state"] == "failed");
    let refused = site.wait_source("d", |source| {
        source["last_error"].to_string().contains("401")
    });
    assert!(!refused.to_string().contains("another"), "{told} {refused}");
}
