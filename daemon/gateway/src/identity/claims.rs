//! What the claims of a verified signature say: whether the token is good now and for us, who it is,
//! and which groups they are in.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Claimed;

/// Longest name of a person, and most groups that are looked at.
const MAX_SUBJECT_BYTES: usize = 255;
const MAX_GROUPS: usize = 1000;

/// Groups of EGI Check-in: `urn:mace:egi.eu:group:<vo>:<more>:role=<role>#<authority>`.
const EGI_GROUP: &str = "urn:mace:egi.eu:group:";

/// When, for whom, and how exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Seconds since 1970.
    pub(super) now_s: f64,
    /// How far clocks may be apart.
    pub(super) leeway_s: f64,
    /// The audience.
    pub(super) audience: &'a str,
}

/// Reads the claims; the reason if they are not good.
pub(super) fn read(claims: &Value, wanted: Wanted<'_>) -> Result<Claimed, &'static str> {
    let Some(expires) = claims["exp"].as_f64() else {
        return Err("it does not say when it expires");
    };
    if wanted.now_s >= expires + wanted.leeway_s {
        return Err("it has expired");
    }
    match &claims["nbf"] {
        Value::Null => {}
        time if time
            .as_f64()
            .is_some_and(|time| time <= wanted.now_s + wanted.leeway_s) => {}
        _ => return Err("it is not valid yet"),
    }
    let is_ours = match &claims["aud"] {
        Value::String(one) => one == wanted.audience,
        Value::Array(all) => all.iter().any(|one| one == wanted.audience),
        _ => false,
    };
    if !is_ours {
        return Err("it is meant for another audience");
    }
    let subject = claims["sub"].as_str().unwrap_or_default();
    if subject.is_empty()
        || subject.len() > MAX_SUBJECT_BYTES
        || subject.chars().any(char::is_control)
    {
        return Err("it does not say who it is about");
    }
    let is_verified = claims["email_verified"] == true || claims["email_verified"] == "true";
    Ok(Claimed {
        subject: subject.to_owned(),
        more: Vec::new(),
        email: claims["email"]
            .as_str()
            .filter(|_| is_verified)
            .map(str::to_owned),
        groups: groups(claims),
    })
}

/// The groups in all the forms that issuers have: as they are, and those of EGI by their short
/// names too (`vo`, `vo:sub`, `vo:role=r`).
fn groups(claims: &Value) -> Vec<String> {
    let places = [
        &claims["eduperson_entitlement"],
        &claims["realm_access"]["roles"],
        &claims["group_membership"],
        &claims["groups"],
    ];
    let mut found = BTreeSet::new();
    for place in places {
        let one = place.as_str().into_iter();
        let many = place.as_array().into_iter().flatten();
        for group in one.chain(many.filter_map(Value::as_str)).take(MAX_GROUPS) {
            found.insert(group.to_owned());
        }
    }
    // Entitlements alone are under EGI's own rules; a group may be called whatever its owner likes.
    let entitled = places[0]
        .as_array()
        .into_iter()
        .flatten()
        .chain([places[0]]);
    for urn in entitled.filter_map(Value::as_str).take(MAX_GROUPS) {
        let Some(path) = urn.strip_prefix(EGI_GROUP) else {
            continue;
        };
        let path = path.split_once('#').map_or(path, |(path, _)| path);
        for (end, _) in path.match_indices(':').chain([(path.len(), "")]) {
            found.insert(path[..end].to_owned());
        }
    }
    found.remove("");
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: f64 = 1_000_000.0;

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Claimed, &'static str> {
        let mut claims = json!({"sub": "s", "aud": "m", "exp": NOW + 10.0});
        change(&mut claims);
        let wanted = Wanted {
            now_s: NOW,
            leeway_s: 60.0,
            audience: "m",
        };
        read(&claims, wanted)
    }

    #[test]
    fn times_and_audience_are_checked_within_the_leeway() {
        assert!(checked(|_| {}).is_ok());
        assert!(checked(|c| c["exp"] = json!(NOW - 59.0)).is_ok());
        assert!(checked(|c| c["exp"] = json!(NOW - 60.0)).is_err());
        assert!(checked(|c| c["nbf"] = json!(NOW + 60.0)).is_ok());
        assert!(checked(|c| c["nbf"] = json!(NOW + 61.0)).is_err());
        assert!(checked(|c| c["aud"] = json!(["x", "m"])).is_ok());
        for (claim, odd) in [
            ("exp", Value::Null),
            ("exp", json!("9999999999")),
            ("nbf", json!("soon")),
            ("aud", Value::Null),
            ("aud", json!("M")),
            ("aud", json!(["x"])),
            ("aud", json!({"m": 1})),
            ("sub", Value::Null),
            ("sub", json!("")),
            ("sub", json!(5)),
            ("sub", json!("a\nb")),
            ("sub", json!("x".repeat(256))),
        ] {
            assert!(
                checked(|c| c[claim] = odd.clone()).is_err(),
                "{claim} {odd}"
            );
        }
    }

    #[test]
    fn an_address_counts_once_it_is_verified() {
        let email = |verified: Value| {
            checked(|c| {
                c["email"] = json!("a@b");
                c["email_verified"] = verified;
            })
            .unwrap()
            .email
        };
        assert_eq!(email(json!(true)).as_deref(), Some("a@b"));
        for unverified in [json!(false), Value::Null, json!("false"), json!(1)] {
            assert_eq!(email(unverified.clone()), None, "{unverified}");
        }
    }

    #[test]
    fn groups_come_in_every_form() {
        let of = |claims: Value| {
            checked(|c| {
                for (name, value) in claims.as_object().unwrap() {
                    c[name] = value.clone();
                }
            })
            .unwrap()
            .groups
        };
        let urn = "urn:mace:egi.eu:group:vo.x.eu:sub:role=member#aai.egi.eu";
        let expected = [urn, "vo.x.eu", "vo.x.eu:sub", "vo.x.eu:sub:role=member"];
        assert_eq!(of(json!({"eduperson_entitlement": [urn]})), expected);
        assert_eq!(of(json!({"eduperson_entitlement": urn})), expected);
        assert_eq!(of(json!({"realm_access": {"roles": ["a"]}})), ["a"]);
        assert_eq!(of(json!({"group_membership": ["/b", 5]})), ["/b"]);
        assert_eq!(of(json!({"groups": "c"})), ["c"]);
        // Another's entitlement, and what is called like one elsewhere, give no short name.
        let others = [
            "urn:mace:evil:group:vo.x.eu",
            "urn:mace:egi.eu:groups:vo.x.eu",
            urn,
        ];
        let kept = of(json!({"eduperson_entitlement": others[..2], "groups": [urn]}));
        assert!(!kept.contains(&"vo.x.eu".to_owned()), "{kept:?}");
        assert!(
            of(json!({"eduperson_entitlement": "urn:mace:egi.eu:group:#x"}))[0].starts_with("urn")
        );
    }
}
