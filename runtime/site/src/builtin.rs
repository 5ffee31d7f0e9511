//! The profiles that come with Mizar, and which of them a machine is.

use std::path::Path;

use crate::profile::{Profile, ProfileError};

const FILES: [(&str, &str); 5] = [
    ("generic", include_str!("../profiles/generic.toml")),
    ("jupiter", include_str!("../profiles/jupiter.toml")),
    ("leonardo", include_str!("../profiles/leonardo.toml")),
    ("lumi", include_str!("../profiles/lumi.toml")),
    ("vega", include_str!("../profiles/vega.toml")),
];

/// The built-in profile of this name.
///
/// # Errors
/// [`ProfileError::Unknown`] names those there are.
pub fn builtin(name: &str) -> Result<Profile, ProfileError> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let Some((name, text)) = found else {
        let known: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        return Err(ProfileError::Unknown {
            name: name.to_owned(),
            known: known.join(", "),
        });
    };
    Profile::parse(text, Path::new(name))
}

/// The built-in profile of the cluster of this name, or of a host of this name; else the
/// generic one.
///
/// # Errors
/// [`ProfileError`] if a built-in profile is broken, which a test rules out.
pub fn detect(cluster: Option<&str>, host: &str) -> Result<Profile, ProfileError> {
    for (name, _) in FILES {
        let profile = builtin(name)?;
        let is_it = match cluster {
            Some(cluster) => profile
                .clusters
                .iter()
                .any(|known| known.eq_ignore_ascii_case(cluster)),
            None => profile.hosts.iter().any(|pattern| matches(pattern, host)),
        };
        if is_it {
            return Ok(profile);
        }
    }
    builtin("generic")
}

/// A pattern with `*` against a name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len())
        .filter(|&start| rest.is_char_boundary(start))
        .any(|start| matches(tail, &rest[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_sound_and_gives_reasons() {
        for (name, _) in FILES {
            let profile = builtin(name).unwrap();
            assert_eq!(profile.name, name);
            let reasons = profile.settings.iter().map(|s| (&s.reason, &s.source));
            let harms = profile.avoid.iter().map(|a| (&a.reason, &a.source));
            for (reason, source) in reasons.chain(harms) {
                assert!(!reason.is_empty() && !source.is_empty(), "{name}");
            }
        }
        let error = builtin("mars").unwrap_err().to_string();
        assert!(
            error.contains("generic, jupiter, leonardo, lumi, vega"),
            "{error}"
        );
    }

    #[test]
    fn a_site_is_known_by_its_cluster_before_its_hosts() {
        let name = |cluster, host| detect(cluster, host).unwrap().name;
        assert_eq!(name(Some("lumi"), "nid001234"), "lumi");
        assert_eq!(name(Some("LUMI"), "anything"), "lumi");
        assert_eq!(name(None, "lrdn0001"), "leonardo");
        assert_eq!(name(Some("elsewhere"), "lrdn0001"), "generic");
        assert_eq!(name(None, "nid001234"), "generic", "a name of every Cray");
        assert_eq!(name(None, "laptop"), "generic");
    }

    #[test]
    fn patterns_have_stars_anywhere() {
        for (pattern, name, expected) in [
            ("nid*", "nid001", true),
            ("nid*", "anid001", false),
            ("login*.local", "login02.local", true),
            ("login*.local", "login02.locale", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("exact", "exact", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
