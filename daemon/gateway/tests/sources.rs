//! Sources that need no broker: a folder, the clock, a bucket on a real S3 server (moto).

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
#[path = "harness/driven.rs"]
mod driven;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use driven::Driven;
use harness::secret;
use serde_json::Value;
use site::Site;

const FOLDER: &str =
    "[[sources]]\nkind = \"directory\"\nname = \"in\"\npath = \"in\"\nsuffix = \".nc\"\n";

fn subjects(jobs: &[Value]) -> BTreeSet<String> {
    let name = |job: &Value| {
        let subject = job["subject"].as_str().unwrap();
        subject.rsplit('/').next().unwrap().to_owned()
    };
    jobs.iter().map(name).collect()
}

#[test]
fn a_file_is_one_event_once_it_is_whole() {
    // So long that only what the kernel tells can be in time.
    let mut site = Site::new("", &format!("{FOLDER}settle_ms = 60000\nrescan_s = 60\n"));
    let folder = site.path("in");
    fs::create_dir(&folder).unwrap();
    site.gateway.start();
    site.wait_source("in", |source| source["state"] == "connected");
    // What a shell would run is a name like any other.
    fs::write(folder.join("$(touch pwned) `x`;'\".nc"), "1").unwrap();
    fs::write(folder.join("closed.nc"), "1").unwrap();
    fs::write(folder.join(".moved"), "2").unwrap();
    fs::rename(folder.join(".moved"), folder.join("moved.nc")).unwrap();
    fs::write(folder.join(".hidden.nc"), "3").unwrap();
    fs::write(folder.join("other.txt"), "4").unwrap();
    fs::create_dir(folder.join("folder.nc")).unwrap();
    let mut open = fs::File::create(folder.join("open.nc")).unwrap();
    open.write_all(b"5").unwrap();
    let jobs = site.exactly(3);
    assert_eq!(
        subjects(&jobs),
        ["$(touch pwned) `x`;'\".nc", "closed.nc", "moved.nc"]
            .map(str::to_owned)
            .into()
    );
    let event = site.event(&jobs[0]);
    let path = event["data"]["path"].as_str().unwrap();
    assert!(Path::new(path).is_file(), "{event}");
    drop(open);
    site.exactly(4);
    // Written anew: another version, another event.
    fs::write(folder.join("closed.nc"), "new").unwrap();
    site.exactly(5);
    site.gateway.kill();
    site.gateway.start();
    let jobs = site.exactly(5);
    assert_eq!(jobs.len(), 5, "a restart repeats nothing");
}

#[test]
fn files_that_came_while_nobody_looked_are_found() {
    let mut site = Site::new("", &format!("{FOLDER}settle_ms = 300\nrescan_s = 1\n"));
    let folder = site.path("in");
    fs::create_dir(&folder).unwrap();
    for n in 0..1500 {
        // More than a page; only the last ones have a name that is wanted.
        let end = if n < 1480 { "txt" } else { "nc" };
        fs::write(folder.join(format!("{n:05}.{end}")), "x").unwrap();
    }
    let odd = folder.join(OsStr::from_bytes(b"odd-\xff.nc"));
    fs::write(&odd, "x").unwrap();
    let broken = folder.join("a\nb.nc");
    fs::write(&broken, "x").unwrap();
    site.gateway.start();
    site.exactly(20);
    let mut dead = site.dead();
    dead.sort_by_key(|message| message["reason"].to_string());
    assert_eq!(dead.len(), 2, "{dead:?}");
    for (message, reason) in dead.iter().zip(["control character", "UTF-8"]) {
        assert!(message["reason"].as_str().unwrap().contains(reason));
    }
    // A hard link is neither written nor renamed: only its sameness tells.
    fs::hard_link(folder.join("01480.nc"), folder.join("link.nc")).unwrap();
    site.exactly(21);
    // The folder goes away and comes back.
    fs::rename(&folder, site.path("away")).unwrap();
    let told = site.wait_source("in", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("in"),
        "{told}"
    );
    fs::rename(site.path("away"), &folder).unwrap();
    fs::write(folder.join("back.nc"), "x").unwrap();
    site.exactly(22);
    // What is gone is forgotten, in pages.
    let items = || -> i64 {
        let count = "SELECT count(*) FROM source_items WHERE source = 'in'";
        site.ledger()
            .query_row(count, [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(items(), 24);
    fs::remove_file(folder.join("link.nc")).unwrap();
    fs::remove_file(&odd).unwrap();
    fs::remove_file(&broken).unwrap();
    let since = Instant::now();
    while items() != 21 {
        assert!(since.elapsed() < site::LIMIT);
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = dead[0]["id"].to_string();
    let code = |arguments: &[&str]| site.gateway.command(arguments).status.code();
    assert_eq!(code(&["dead-letters", "--replay", &id]), Some(4));
    assert_eq!(code(&["dead-letters", "--discard", &id]), Some(0));
    assert_eq!(code(&["dead-letters", "--discard", &id]), Some(4));
    let metrics = site.gateway.get("/metrics").1;
    assert!(
        metrics.contains("mizar_gateway_source_up{source=\"in\"} 1"),
        "{metrics}"
    );
}

#[test]
fn due_times_are_made_up_for_and_never_come_twice() {
    let sources = "[[sources]]\nkind = \"cron\"\nname = \"all\"\nschedule = \"* * * * *\"\ncatch_up = \"all\"\n\
                   [[sources]]\nkind = \"cron\"\nname = \"none\"\nschedule = \"0 0 29 2 *\"\n";
    let mut site = Site::new("", sources);
    site.gateway.start();
    site.wait_source("all", |source| source["state"] == "connected");
    site.gateway.stop();
    let minutes_back = |site: &Site, minutes: i64| {
        let last = mizar_core::clock::unix_ns() / 1_000_000 - minutes * 60_000;
        let changed = site.ledger().execute(
            "UPDATE source_items SET version = ?1 WHERE source = 'all' AND item = 'last'",
            [last.to_string()],
        );
        assert_eq!(changed.unwrap(), 1);
    };
    minutes_back(&site, 5);
    site.gateway.start();
    site.gateway.wait_jobs(site::LIMIT, |jobs| jobs.len() >= 5);
    let due = |site: &Site| -> Vec<String> {
        let jobs = site.gateway.jobs();
        let mut due: Vec<_> = jobs
            .iter()
            .map(|job| job["subject"].as_str().unwrap().to_owned())
            .collect();
        due.sort();
        due
    };
    let first = due(&site);
    assert!(first.len() <= 6 && first[0].ends_with(":00Z"), "{first:?}");
    // As a clock that went back, or a ledger of before: known due times are no new jobs.
    site.gateway.kill();
    minutes_back(&site, 5);
    site.gateway.start();
    site.wait_source("all", |source| source["duplicates"].as_i64() >= Some(4));
    let again = due(&site);
    let distinct: BTreeSet<_> = again.iter().collect();
    assert_eq!(distinct.len(), again.len(), "{again:?}");
    assert_eq!(again[..first.len()], first[..]);
    assert!(
        again.len() <= first.len() + 1,
        "at most one came due meanwhile"
    );
}

#[test]
fn a_bucket_gives_each_version_of_each_key_once() {
    let Some((mut moto, url)) = Driven::start("s3_server.py", "moto.server, boto3") else {
        return;
    };
    moto.tell("many 2100");
    let sources = format!(
        "[[sources]]\nkind = \"s3-poll\"\nname = \"bucket\"\nendpoint = \"{url}\"\nbucket = \"bucket\"\n\
         prefix = \"in/\"\nsuffix = \".nc\"\nkey_file = \"keys\"\npoll_s = 1\n"
    );
    let mut site = Site::new("", &sources);
    secret(&site.path("keys"), "ann\nhush-hush\n");
    moto.tell("put in/a b+ü.nc one");
    moto.tell("put in/x.txt one");
    moto.tell("put out/x.nc one");
    site.gateway.start();
    let jobs = site.exactly(1);
    assert_eq!(jobs[0]["subject"], "in/a b+ü.nc");
    assert_eq!(jobs[0]["type"], "com.amazonaws.s3.ObjectCreated:Listed");
    // The same content again is no news; another is.
    moto.tell("put in/a b+ü.nc one");
    moto.tell("put in/a b+ü.nc two");
    site.exactly(2);
    site.gateway.kill();
    moto.tell("put in/zz.nc one");
    site.gateway.start();
    site.exactly(3);
    moto.tell("delete in/zz.nc");
    let known = || -> i64 {
        let count = "SELECT count(*) FROM source_items";
        let ledger = site.ledger();
        ledger.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let since = std::time::Instant::now();
    while known() > 1 {
        assert!(since.elapsed() < site::LIMIT, "what is gone is forgotten");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!site.gateway.log().contains("hush-hush"));
    drop(moto);
    let told = site.wait_source("bucket", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains(&url),
        "{told}"
    );
}

#[test]
fn bad_tables_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("g.toml");
    let head = "state_dir='s'\nwork_dir='w'\nservices=[]\n";
    for (table, expected) in [
        ("kind='pigeon'\nname='a'", "pigeon"),
        ("kind='directory'\nname='A'\npath='x'", "DNS label"),
        ("kind='directory'\nname='a'\npath='x'\ncolour=1", "colour"),
        ("kind='cron'\nname='a'\nschedule='* * *'", "3 fields"),
        (
            "kind='s3-poll'\nname='a'\nendpoint='x'\nbucket='b'\nkey_file='k'",
            "endpoint",
        ),
        (
            "kind='mqtt'\nname='a'\nbroker='h'\ntopics=['a/#/b']",
            "topics",
        ),
        (
            "kind='mqtt'\nname='a'\nbroker='far.site'\ntopics=['a']\ncredentials_file='x'",
            "in the clear",
        ),
        (
            "kind='nats'\nname='a'\nservers=['nats://u:p@h']\nsubject='s'",
            "host:port",
        ),
        ("kind='nats'\nname='a'\nservers=['nats://h']", "stream"),
        (
            "kind='amqp'\nname='a'\nbroker='h'\nqueue='q'\nprefetch=0",
            "prefetch",
        ),
        (
            "kind='stomp'\nname='a'\nbroker='far.site'\ndestination='/queue/q'\ncredentials_file='x'",
            "tls = true",
        ),
        (
            "kind='sqs'\nname='a'\nqueue_url='https://ann:x@h/1/q'\nkey_file='k'",
            "queue_url",
        ),
        (
            "kind='sqs'\nname='a'\nqueue_url='https://h/1/q'\nkey_file='k'\nwait_s=30",
            "wait_s",
        ),
        (
            "kind='dcache'\nname='a'\nendpoint='http://far.site'\npath='/d'\ncredentials_file='x'",
            "in the clear",
        ),
        (
            "kind='dcache'\nname='a'\nendpoint='https://far.site'\npath='d/'\ncredentials_file='x'",
            "path",
        ),
        ("kind='kafka'\nname='a'\nbrokers=[]\ntopic='t'", "brokers"),
        (
            "kind='stomp'\nname='a'\nbroker='h'\ndestination=''",
            "destination",
        ),
        (
            "kind='stomp'\nname='a'\nbroker='h'\ndestination='/queue/q'\nca_file='x'",
            "ca_file",
        ),
        (
            "kind='cron'\nname='a'\nschedule='* * * * *'\n[[sources]]\nkind='cron'\nname='a'\nschedule='* * * * *'",
            "twice",
        ),
    ] {
        fs::write(&config, format!("{head}[[sources]]\n{table}\n")).unwrap();
        let output = Command::new(harness::PROGRAM)
            .args(["--check-config", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{table}: {told}");
        assert!(told.contains(expected), "{table}: {told}");
    }
}
