//! A drain in the middle of a broker's messages: none is taken while it lasts, each is one job
//! once it is over.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/brokers.rs"]
mod brokers;
#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/senders.rs"]
mod senders;
#[path = "harness/site.rs"]
mod site;

use std::collections::BTreeSet;
use std::time::Duration;

use brokers::Broker;
use harness::event;
use site::Site;

const MESSAGES: usize = 120;

#[test]
fn messages_of_a_broker_wait_there_while_the_gateway_is_drained() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::mosquitto(folder.path()) else {
        return;
    };
    let port = broker.port;
    let source = format!(
        "[[sources]]\nkind = \"mqtt\"\nname = \"mq\"\nbroker = \"127.0.0.1:{port}\"\nversion = 5\n\
         topics = [\"ce/#\"]\ncredentials_file = \"login\"\n"
    );
    let mut site = Site::new("", &source);
    site.gateway.start();
    site.wait_source("mq", |source| source["state"] == "connected");
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let runtime = senders::runtime();
            for first in (0..MESSAGES).step_by(10) {
                let messages: Vec<_> = (first..first + 10)
                    .map(|n| ("ce/x", event(&n.to_string()).to_string().into_bytes()))
                    .collect();
                runtime.block_on(senders::mqtt(port, &messages));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        // The first ones are in, more come.
        site.gateway.wait_jobs(site::LIMIT, |jobs| jobs.len() >= 20);
        let drain = site.gateway.command(&["drain", "--ended"]);
        assert!(drain.status.success(), "{}", site.gateway.log());
        let taken = site.gateway.jobs().len();
        assert!(taken < MESSAGES, "the drain came too late to show anything");
        site.wait_source("mq", |source| source["state"] == "paused");
        sender.join().unwrap();
        assert_eq!(site.gateway.jobs().len(), taken, "nothing came in");
    });
    // Nor after a kill.
    site.gateway.kill();
    site.gateway.start();
    site.wait_source("mq", |source| source["state"] == "paused");
    assert!(site.gateway.command(&["resume"]).status.success());
    let jobs = site.exactly(MESSAGES);
    let ids: BTreeSet<_> = jobs.iter().map(|job| job["event_id"].to_string()).collect();
    assert_eq!(ids.len(), MESSAGES);
    assert_eq!(site.double.markers().len(), MESSAGES);
}
