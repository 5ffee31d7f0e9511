//! Who asks an S3 service, and which: from the variables and files that AWS's own tools read.
//!
//! Nothing of this comes from the command line, which every user of the node sees.

use std::path::{Path, PathBuf};

use mizar_http::s3::Keys;

use super::RemoteError;

/// An S3 service, and the keys for it; without keys, what is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) keys: Option<Keys>,
    pub(crate) region: String,
    /// Of a service that is not Amazon's own.
    pub(crate) endpoint: Option<String>,
}

/// Where it is if nobody says.
const REGION: &str = "us-east-1";

impl Account {
    /// From the variables of the process and the files of its user.
    pub(crate) fn of_process() -> Result<Self, RemoteError> {
        Self::new(&|name| std::env::var(name).ok(), &|path| {
            std::fs::read_to_string(path).ok()
        })
    }

    fn new(
        variable: &dyn Fn(&str) -> Option<String>,
        file: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self, RemoteError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let profile = Profile::read(&variable, file)?;
        let region = variable("AWS_REGION")
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| profile.value("region"));
        let endpoint = variable("AWS_ENDPOINT_URL_S3")
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .or_else(|| profile.value("endpoint_url"));
        let endpoint = endpoint.map(|url| checked_endpoint(&url)).transpose()?;
        let is_anonymous = variable("AWS_SKIP_SIGNATURE")
            .is_some_and(|value| matches!(value.to_lowercase().as_str(), "true" | "1" | "yes"));
        let keys = match (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            _ if is_anonymous => None,
            (Some(id), Some(secret)) => Some(Keys {
                id,
                secret,
                token: variable("AWS_SESSION_TOKEN"),
            }),
            (None, None) => profile.keys(),
            (found, _) => {
                let (set, unset) = match found {
                    Some(_) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
                    None => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
                };
                let problem = format!("{set} is set and {unset} is not");
                return Err(RemoteError::Settings { problem });
            }
        };
        Ok(Self {
            keys,
            region: region.unwrap_or_else(|| REGION.to_owned()),
            endpoint,
        })
    }

    /// Scheme and host of the server of a bucket, and what its paths begin with.
    pub(super) fn server(&self, bucket: &str) -> (String, String) {
        let region = &self.region;
        match &self.endpoint {
            Some(endpoint) => (endpoint.clone(), format!("/{bucket}")),
            // A certificate covers one label before the service's own name.
            None if bucket.contains('.') => (
                format!("https://s3.{region}.amazonaws.com"),
                format!("/{bucket}"),
            ),
            None => (
                format!("https://{bucket}.s3.{region}.amazonaws.com"),
                String::new(),
            ),
        }
    }

    /// What to do when access is denied.
    pub(super) fn remedy(&self) -> &'static str {
        match self.keys {
            Some(_) => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN (or \
                 AWS_PROFILE), AWS_REGION and AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true asks for \
                 public data without keys"
            }
            None => {
                "no keys were sent; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or \
                 AWS_PROFILE), and AWS_ENDPOINT_URL for a service that is not Amazon's"
            }
        }
    }
}

fn checked_endpoint(url: &str) -> Result<String, RemoteError> {
    let url = url.trim_end_matches('/');
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '@', '?', '#']) => {
            Ok(url.to_owned())
        }
        _ => Err(RemoteError::Settings {
            problem: "expected AWS_ENDPOINT_URL to be http:// or https:// with a host and \
                      nothing after it"
                .to_owned(),
        }),
    }
}

/// The lines of one profile in AWS's two files.
#[derive(Debug, Default)]
struct Profile {
    pairs: Vec<(String, String)>,
}

impl Profile {
    fn read(
        variable: &dyn Fn(&str) -> Option<String>,
        file: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self, RemoteError> {
        let asked = variable("AWS_PROFILE");
        let name = asked.as_deref().unwrap_or("default");
        let path = |of: &str, default: &str| {
            let home = || Some(PathBuf::from(variable("HOME")?).join(".aws").join(default));
            variable(of).map(PathBuf::from).or_else(home)
        };
        let in_config = match name {
            "default" => name.to_owned(),
            _ => format!("profile {name}"),
        };
        let places = [
            (path("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name),
            (path("AWS_CONFIG_FILE", "config"), &in_config),
        ];
        let mut profile = Self::default();
        let mut is_found = false;
        for (path, section) in places {
            let text = path.and_then(|path| file(&path));
            if let Some(pairs) = text.and_then(|text| section_of(&text, section)) {
                is_found = true;
                profile.pairs.extend(pairs);
            }
        }
        match asked {
            Some(name) if !is_found => Err(RemoteError::Settings {
                problem: format!(
                    "AWS_PROFILE is {name:?}, which neither ~/.aws/credentials nor \
                     ~/.aws/config has"
                ),
            }),
            _ => Ok(profile),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let found = self.pairs.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.clone())
    }

    fn keys(&self) -> Option<Keys> {
        Some(Keys {
            id: self.value("aws_access_key_id")?,
            secret: self.value("aws_secret_access_key")?,
            token: self.value("aws_session_token"),
        })
    }
}

/// The `name = value` lines below `[section]`.
fn section_of(text: &str, section: &str) -> Option<Vec<(String, String)>> {
    let mut found = None;
    let mut is_inside = false;
    for line in text.lines() {
        let line = line.trim();
        let heading = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'));
        if let Some(heading) = heading {
            is_inside = heading.trim() == section;
            if is_inside {
                found.get_or_insert_with(Vec::new);
            }
        } else if is_inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            let pair = (name.trim().to_lowercase(), value.trim().to_owned());
            found.get_or_insert_with(Vec::new).push(pair);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id=D\naws_secret_access_key = d\n\
                               # [mine]\n[mine]\naws_access_key_id = M\n\
                               aws_secret_access_key = m=/\naws_session_token = t\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile mine]\nregion = eu-north-1\n\
                          endpoint_url = http://store:9000/\n";

    fn account(variables: &[(&str, &str)]) -> Result<Account, RemoteError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Account::new(&variable, &|path| match path.to_str().unwrap() {
            "/home/.aws/credentials" | "/other" => Some(CREDENTIALS.to_owned()),
            "/home/.aws/config" => Some(CONFIG.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_come_before_files() {
        let keys = |account: &Account| account.keys.as_ref().map(|keys| keys.id.clone());
        let none = account(&[]).unwrap();
        assert_eq!((keys(&none), none.region.as_str()), (None, "us-east-1"));
        let default = account(&[("HOME", "/home")]).unwrap();
        assert_eq!(keys(&default).as_deref(), Some("D"));
        assert_eq!(default.region, "eu-west-1");
        let mine = account(&[("HOME", "/home"), ("AWS_PROFILE", "mine")]).unwrap();
        let found = mine.keys.clone().unwrap();
        assert_eq!(
            (found.secret.as_str(), found.token.as_deref()),
            ("m=/", Some("t"))
        );
        assert_eq!(mine.endpoint.as_deref(), Some("http://store:9000"));
        assert_eq!(mine.region, "eu-north-1");
        let own = account(&[
            ("HOME", "/home"),
            ("AWS_ACCESS_KEY_ID", "E"),
            ("AWS_SECRET_ACCESS_KEY", "e"),
            ("AWS_REGION", "ap-south-1"),
            ("AWS_ENDPOINT_URL", "https://other"),
        ])
        .unwrap();
        assert_eq!(keys(&own).as_deref(), Some("E"));
        assert_eq!(own.region, "ap-south-1");
        let skips = account(&[("HOME", "/home"), ("AWS_SKIP_SIGNATURE", "true")]).unwrap();
        assert_eq!(keys(&skips), None);
        let shared = account(&[("AWS_SHARED_CREDENTIALS_FILE", "/other")]).unwrap();
        assert_eq!(keys(&shared).as_deref(), Some("D"));
    }

    #[test]
    fn what_cannot_be_used_is_said_without_secrets() {
        for (variables, expected) in [
            (
                &[("AWS_SECRET_ACCESS_KEY", "hidden")][..],
                "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not",
            ),
            (&[("AWS_PROFILE", "absent")], "AWS_PROFILE is \"absent\""),
            (
                &[("AWS_ENDPOINT_URL", "hidden:9000")],
                "expected AWS_ENDPOINT_URL",
            ),
            (
                &[("AWS_ENDPOINT_URL", "http://hidden@a")],
                "expected AWS_ENDPOINT_URL",
            ),
        ] {
            let message = account(variables).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("hidden"), "{message}");
        }
    }

    #[test]
    fn buckets_have_servers() {
        let mut account = account(&[]).unwrap();
        let server = |account: &Account, bucket: &str| {
            let (host, path) = account.server(bucket);
            host + &path
        };
        assert_eq!(
            server(&account, "b"),
            "https://b.s3.us-east-1.amazonaws.com"
        );
        assert_eq!(
            server(&account, "b.c"),
            "https://s3.us-east-1.amazonaws.com/b.c"
        );
        account.endpoint = Some("http://localhost:9000".to_owned());
        assert_eq!(server(&account, "b"), "http://localhost:9000/b");
    }
}
