//! A gateway that knows an issuer, and callers at each of its doors.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use serde_json::Value;

use crate::double::Double;
use crate::harness::{Gateway, agent, event, secret};
use crate::issuer::Issuer;

/// Every door: method, path, and the status of somebody who is let in.
pub(crate) const DOORS: [(&str, &str, u16); 8] = [
    ("POST", "/events", 202),
    ("POST", "/create", 400),
    ("POST", "/delete", 400),
    ("GET", "/status", 400),
    ("GET", "/v1/services", 200),
    ("GET", "/system/services", 200),
    ("POST", "/job/plants", 404),
    ("POST", "/run/plants", 404),
];

pub(crate) const OPERATOR: &str = "an-operators-token";

pub(crate) struct Site {
    _folder: tempfile::TempDir,
    pub(crate) gateway: Gateway,
    agent: ureq::Agent,
}

pub(crate) fn site(issuer: &Issuer, rules: &str) -> Site {
    site_with(issuer, rules, "")
}

pub(crate) fn site_with(issuer: &Issuer, rules: &str, services: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    for (name, text) in [("users", "admin:correct horse\n"), ("token", OPERATOR)] {
        secret(&folder.path().join(name), text);
    }
    let extra = format!(
        "token_file = \"token\"\n{}[interlink]\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\n\
         [identity]\nrefresh_min_s = 1\nleeway_s = 30\n\
         [[identity.issuers]]\nissuer = \"{}\"\naudience = \"mizar\"\n{rules}",
        double.config(),
        issuer.url
    );
    let mut gateway = Gateway::prepare(folder.path(), &extra, services);
    gateway.start();
    let agent = agent(Duration::from_secs(30));
    Site {
        _folder: folder,
        gateway,
        agent,
    }
}

pub(crate) fn rule(issuer: &Issuer, lines: &str) -> String {
    format!("[[identity.users]]\nissuer = \"{}\"\n{lines}\n", issuer.url)
}

impl Site {
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: &Value,
    ) -> (u16, String) {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.gateway.url(path))
            .header("content-type", "application/cloudevents+json")
            .header("connection", "close");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(body.to_string()).unwrap();
        let mut answer = self.agent.run(request).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    pub(crate) fn bearer(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (u16, String) {
        self.ask(method, path, Some(&format!("Bearer {token}")), body)
    }

    /// What every door answers.
    pub(crate) fn doors(&self, token: &str) -> Vec<u16> {
        let doors = DOORS.iter();
        doors
            .map(|(method, path, _)| self.bearer(method, path, token, &event("e")).0)
            .collect()
    }
}

pub(crate) fn welcome() -> Vec<u16> {
    DOORS.iter().map(|(_, _, status)| *status).collect()
}
