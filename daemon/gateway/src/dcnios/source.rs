//! What a source of a workflow is among ours.
//!
//! Where a key has no meaning here its reason is told; where a group cannot be mapped at all it is
//! left out as a whole, so that nothing is fetched in another way than it says.

use std::path::Path;

use serde_json::{Value, json};

use super::workflow::{Fields, Group, Kind};
use super::{Mapping, Secret, Surroundings, label, remark};
use crate::condition::MAX_EVENTS;
use crate::sources::Source;

/// A source that was mapped.
#[derive(Debug)]
pub(super) struct Made {
    /// Its name among ours.
    pub(super) name: String,
    /// Its events make jobs together: so many, or so long after the first.
    pub(super) merge: Option<(u32, u32)>,
    /// Data of an event that services must ask for, by path.
    pub(super) data: Vec<(String, String)>,
    /// The type of event that services must ask for.
    pub(super) kind: Option<&'static str>,
}

/// Parts of a source's table, before it is checked.
struct Draft<'a, 'b> {
    at: String,
    surroundings: &'a Surroundings<'b>,
    mapping: &'a mut Mapping,
    made: Made,
}

/// Maps a source; None if it was left out.
pub(super) fn map(
    group: Group,
    surroundings: &Surroundings<'_>,
    mapping: &mut Mapping,
) -> Option<Made> {
    let at = group.place();
    let name = label(&group.name, &at, mapping)?;
    let secrets = mapping.secrets.len();
    let mut draft = Draft {
        at: at.clone(),
        surroundings,
        mapping,
        made: Made {
            name,
            merge: None,
            data: Vec::new(),
            kind: None,
        },
    };
    match draft.read(group.kind, group.fields) {
        Ok(source) => {
            let made = draft.made;
            mapping.fragment.sources.push(source);
            Some(made)
        }
        Err(problem) => {
            mapping.secrets.truncate(secrets);
            mapping.left(&at, problem);
            None
        }
    }
}

impl Draft<'_, '_> {
    fn read(&mut self, kind: Kind, mut fields: Fields) -> Result<Source, String> {
        self.components(&mut fields)?;
        self.alterations(&mut fields)?;
        let mut table = match kind {
            Kind::DCache => self.dcache(&mut fields)?,
            Kind::Kafka => self.kafka(&mut fields)?,
            Kind::GetSqs => {
                let queue = fields.needed("queue_name")?;
                self.sqs(&mut fields, &queue)?
            }
            Kind::GetS3 => {
                let queue = format!("{}_events", fields.needed("AWS_S3_BUCKET")?);
                self.note(format!(
                    "reads the queue `{queue}`, which DCNiOS made together with the bucket's \
                     notification; neither is made here"
                ));
                self.sqs(&mut fields, &queue)?
            }
            _ => self.rucio(&mut fields)?,
        };
        table["name"] = json!(self.made.name);
        let unknown: Vec<&str> = fields.rest().collect();
        if !unknown.is_empty() {
            return Err(format!("`{}` is not known here", unknown.join("`, `")));
        }
        let source: Source = serde_json::from_value(table).map_err(|error| error.to_string())?;
        source.check()?;
        Ok(source)
    }

    fn note(&mut self, what: impl Into<String>) {
        self.mapping.notes.push(remark(&self.at, what));
    }

    fn left(&mut self, what: impl Into<String>) {
        self.mapping.left.push(remark(&self.at, what));
    }

    /// Keeps a secret in a file beside the fragment, and names it.
    fn secret(&mut self, holds: &'static str, text: String) -> Value {
        let file = self.secret_name();
        let named = json!(file);
        self.mapping.secrets.push(Secret { file, holds, text });
        named
    }

    fn secret_name(&self) -> String {
        format!("{}.{}.secret", self.surroundings.stem, self.made.name)
    }

    fn login(&mut self, user: &str, password: &str) -> Result<Value, String> {
        if user.contains([':', '\n']) || password.contains('\n') {
            return Err("its user holds `:`, or its password is of several lines".to_owned());
        }
        Ok(self.secret("user and password", format!("{user}:{password}\n")))
    }

    /// Seconds between runs of NiFi's processors, and the nodes that they run on.
    fn components(&mut self, fields: &mut Fields) -> Result<(), String> {
        for mut component in fields.tables("components")? {
            let name = component.needed("name")?;
            if component.text("seconds").is_some() {
                self.note(format!(
                    "the seconds between runs of `{name}` bound nothing: events are taken as they \
                     come and wait in the ledger; bound their service, as with `mizar-gateway set \
                     SERVICE rate=30/min`"
                ));
            }
            // One gateway takes all that comes, whichever node it would have been.
            component.take("node");
        }
        Ok(())
    }

    fn alterations(&mut self, fields: &mut Fields) -> Result<(), String> {
        for mut step in fields.tables("alterations")? {
            let action = step.needed("action")?;
            match action.as_str() {
                "Merge" => self.merge(&mut step)?,
                "Encode" | "Decode" => {
                    let coding = step.text("Encoding").unwrap_or_else(|| "base64".to_owned());
                    self.left(format!(
                        "`{action}` with {coding}: a job's event holds each message as it came; \
                         let the job's script do it"
                    ));
                }
                other => self.left(format!("the alteration `{other}` is not known")),
            }
        }
        Ok(())
    }

    fn merge(&mut self, step: &mut Fields) -> Result<(), String> {
        let mut whole = |key: &str| {
            let text = step.needed(key)?;
            text.parse::<u32>()
                .map_err(|_| format!("`{key}` of Merge is no whole number"))
        };
        let (count, seconds) = (whole("maxMessages")?, whole("windowSeconds")?);
        if self.made.merge.is_some() {
            self.left("a second `Merge`: batches of batches are not made");
            return Ok(());
        }
        if count < 2 {
            self.note("a `Merge` of one message leaves it as it is");
            return Ok(());
        }
        if count > MAX_EVENTS {
            self.note(format!(
                "`Merge` makes batches of {MAX_EVENTS} messages, which is the most"
            ));
        }
        self.made.merge = Some((count.min(MAX_EVENTS), seconds.max(1)));
        self.note("`Merge`: the messages are the list `data.events` of the job's event, not lines");
        Ok(())
    }

    fn dcache(&mut self, fields: &mut Fields) -> Result<Value, String> {
        let endpoint = fields.needed("endpoint")?;
        let (user, password) = (fields.needed("user")?, fields.needed("password")?);
        let folder = fields.needed("folder")?;
        if fields.take("statefile").is_some() {
            self.note("has no `statefile`: the ledger keeps the place");
        }
        let endpoint = endpoint.trim_end_matches('/');
        let endpoint = endpoint.strip_suffix("/api/v1").unwrap_or(endpoint);
        let endpoint = match endpoint.contains("://") {
            true => endpoint.to_owned(),
            false => format!("https://{endpoint}"),
        };
        Ok(json!({
            "kind": "dcache",
            "endpoint": endpoint,
            "path": format!("/{}", folder.trim_matches('/')),
            "credentials_file": self.login(&user, &password)?,
        }))
    }

    fn kafka(&mut self, fields: &mut Fields) -> Result<Value, String> {
        let servers = fields.needed("bootstrap_servers")?;
        let brokers: Vec<&str> = servers.split(',').map(str::trim).collect();
        let topic = fields.needed("topic")?;
        if topic.contains(',') {
            return Err("`topic` names several: give each a group of its own".to_owned());
        }
        let protocol = fields
            .text("security_protocol")
            .unwrap_or_else(|| "SASL_SSL".to_owned());
        let (sasl, tls) = match protocol.as_str() {
            "SASL_SSL" => (true, true),
            "SASL_PLAINTEXT" => (true, false),
            "SSL" => (false, true),
            "PLAINTEXT" => (false, false),
            other => return Err(format!("the security protocol `{other}` is not known")),
        };
        let mut table = json!({"kind": "kafka", "brokers": brokers, "topic": topic, "tls": tls});
        let mechanism = fields
            .text("sasl_mechanism")
            .unwrap_or_else(|| "PLAIN".to_owned());
        let (user, password) = (fields.text("sasl_username"), fields.text("sasl_password"));
        if sasl {
            table["sasl"] = match mechanism.as_str() {
                "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => json!(mechanism.to_lowercase()),
                other => return Err(format!("the SASL mechanism `{other}` is not spoken")),
            };
            let login = user
                .zip(password)
                .ok_or("`sasl_username` or `sasl_password` is missing")?;
            table["credentials_file"] = self.login(&login.0, &login.1)?;
        }
        if let Some(context) = fields.take("ssl_context").and_then(Fields::of) {
            self.trust(context, tls, &mut table);
        }
        let by_key = fields.text("separate_by_key");
        fields.take("message_demarcator");
        if by_key.is_some_and(|flag| flag.eq_ignore_ascii_case("true")) {
            self.left("`separate_by_key`: each record is an event of its own; nothing joins those of a key");
        }
        if fields.take("group_id").is_some() {
            self.note(
                "joins no consumer group: the ledger keeps the place, and what the topic still has \
                 is taken from its beginning (`from = \"latest\"` would take what comes from now on)",
            );
        }
        Ok(table)
    }

    /// Whom TLS trusts: a PEM file, or one that was made of the PKCS#12 store.
    fn trust(&mut self, mut context: Fields, tls: bool, table: &mut Value) {
        let store = context.text("Truststore_Filename");
        context.take("Truststore_Password");
        let unknown: Vec<String> = context.rest().map(str::to_owned).collect();
        for key in unknown {
            self.left(format!("`ssl_context.{key}`: only a trust store is read"));
        }
        let Some(store) = store.filter(|_| tls) else {
            return;
        };
        let pem = Path::new(&store).with_extension("pem");
        let pem = self.surroundings.folder.join(pem);
        if pem.is_file() {
            let whole = std::path::absolute(&pem).unwrap_or(pem);
            table["ca_file"] = json!(whole);
        } else {
            self.left(format!(
                "the trust store `{}` is PKCS#12: make a PEM file of it beside the workflow with \
                 `openssl pkcs12 -in STORE -nokeys -out {}` and apply again; until then the system's \
                 authorities alone are trusted",
                store.escape_debug(),
                pem.file_name().unwrap_or_default().to_string_lossy()
            ));
        }
    }

    fn sqs(&mut self, fields: &mut Fields, queue: &str) -> Result<Value, String> {
        let region = fields
            .text("AWS_DEFAULT_REGION")
            .unwrap_or_else(|| "us-east-1".to_owned());
        let own = (
            fields.text("AWS_ACCESS_KEY_ID"),
            fields.text("AWS_SECRET_ACCESS_KEY"),
        );
        let keys = match own {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => self.surroundings.aws_keys.clone(),
            _ => return Err("has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()),
        };
        let key_file = match keys {
            Some((id, secret)) => {
                self.secret("access key and secret key", format!("{id}\n{secret}\n"))
            }
            None => {
                let file = self.surroundings.output.join(self.secret_name());
                if !file.is_file() {
                    return Err(format!(
                        "names no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write \
                         them, one a line, into {} with mode 600",
                        file.display()
                    ));
                }
                json!(self.secret_name())
            }
        };
        Ok(json!({"kind": "sqs", "queue_name": queue, "region": region, "key_file": key_file}))
    }

    fn rucio(&mut self, fields: &mut Fields) -> Result<Value, String> {
        let (host, port) = (fields.needed("host")?, fields.needed("port")?);
        let queue = fields.needed("queue_name")?;
        // So DCNiOS has it: the key of the virtual host is the user, and the host is always `rucio`.
        let (user, password) = (fields.needed("virtual_host")?, fields.needed("password")?);
        fields.take("ssl_client_auth");
        self.left(format!(
            "AMQP over TLS: start a TLS proxy on this machine from localhost:5672 to \
             {host}:{port}, as stunnel; the source connects to it"
        ));
        self.made.kind = Some("mizar.rucio.close");
        if let Some(wanted) = fields
            .text("service_filter")
            .filter(|text| !text.is_empty())
        {
            let path = "payload.custom_metadata.oscar-service";
            self.made.data.push((path.to_owned(), wanted));
        }
        Ok(json!({
            "kind": "amqp", "broker": "localhost:5672", "queue": queue, "vhost": "rucio",
            "credentials_file": self.login(&user, &password)?,
        }))
    }
}
