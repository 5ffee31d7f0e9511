//! What a client certificate says of who holds it: its subject as RFC 4514 writes it, and its
//! alternative names. TLS has verified the certificate before; what is odd all the same names nobody.
//!
//! The few parts of X.509 that this needs are read here: rustls keeps its own reader to itself, and
//! the crates that read all of X.509 bring more than the rest of the gateway's security together.

use super::Claimed;

/// Longest subject, and most names.
const MAX_SUBJECT_BYTES: usize = 1024;
const MAX_NAMES: usize = 100;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// Texts that are UTF-8, or a part of it: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Encoded id of the extension with alternative names, 2.5.29.17.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// The alternative names that count, by their tags.
const NAMES: [(u8, &str); 3] = [(0x81, "email"), (0x82, "dns"), (0x86, "uri")];

/// Short names of attributes, by their encoded ids.
const ATTRIBUTES: [(&[u8], &str); 10] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
];

/// Who holds a certificate, in DER; None if it names nobody that can be written plainly.
#[must_use]
pub fn claimed(certificate: &[u8]) -> Option<Claimed> {
    let mut outer = Reader(certificate);
    let mut whole = Reader(outer.take(SEQUENCE)?);
    let mut signed = Reader(whole.take(SEQUENCE)?);
    // Version, serial number, algorithm, issuer, validity; then the subject and its key.
    signed.take_if(0xa0);
    for tag in [0x02, SEQUENCE, SEQUENCE, SEQUENCE] {
        signed.take(tag)?;
    }
    let subject = subject(signed.take(SEQUENCE)?)?;
    signed.take(SEQUENCE)?;
    for unused in [0x81, 0x82] {
        signed.take_if(unused);
    }
    let more = match signed.take_if(0xa3) {
        Some(extensions) => names(extensions)?,
        None => Vec::new(),
    };
    let is_named = !subject.is_empty() || !more.is_empty();
    is_named.then_some(Claimed {
        subject,
        more,
        ..Claimed::default()
    })
}

/// `CN=ann,O=Site`: the last part first, what parts it escaped.
fn subject(parts: &[u8]) -> Option<String> {
    let mut parts = Reader(parts);
    let mut written = Vec::new();
    while !parts.0.is_empty() {
        let mut set = Reader(parts.take(SET)?);
        let mut both = Vec::new();
        while !set.0.is_empty() {
            let mut pair = Reader(set.take(SEQUENCE)?);
            let id = pair.take(OBJECT_ID)?;
            let name = ATTRIBUTES.iter().find(|(known, _)| *known == id)?.1;
            let (tag, value) = pair.next()?;
            both.push(format!("{name}={}", escaped(text(tag, value)?)));
        }
        both.reverse();
        written.push(both.join("+"));
    }
    written.reverse();
    let subject = written.join(",");
    (subject.len() <= MAX_SUBJECT_BYTES).then_some(subject)
}

fn text(tag: u8, value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let is_plain = TEXTS.contains(&tag) && !text.chars().any(char::is_control);
    is_plain.then_some(text)
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        let at_edge =
            (letter == ' ' && (index == 0 || index == last)) || (letter == '#' && index == 0);
        if at_edge || ",+\"\\<>;".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Alternative names among the extensions, as `dns:host`.
fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut outer = Reader(extensions);
    let mut list = Reader(outer.take(SEQUENCE)?);
    let mut found = Vec::new();
    while !list.0.is_empty() {
        let mut extension = Reader(list.take(SEQUENCE)?);
        if extension.take(OBJECT_ID)? != ALTERNATIVE_NAMES {
            continue;
        }
        extension.take_if(0x01);
        let mut value = Reader(extension.take(OCTET_STRING)?);
        let mut all = Reader(value.take(SEQUENCE)?);
        while !all.0.is_empty() && found.len() < MAX_NAMES {
            let (tag, value) = all.next()?;
            if let Some((_, kind)) = NAMES.iter().find(|(known, _)| *known == tag) {
                // They are IA5 strings under a tag of their own.
                found.push(format!("{kind}:{}", text(0x16, value)?));
            }
        }
    }
    Some(found)
}

/// Reads DER from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value with its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A certificate of 16 MiB is none.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                (length, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, value) = self.next()?;
        (tag == wanted).then_some(value)
    }

    /// The next value, if it has this tag.
    fn take_if(&mut self, wanted: u8) -> Option<&'a [u8]> {
        match self.0.first() {
            Some(&tag) if tag == wanted => self.take(wanted),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// A certificate by openssl, in DER, and its subject as openssl writes it.
    fn made(subject: &str, names: &str) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut request = Command::new("openssl");
        request
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args([
                "-nodes",
                "-utf8",
                "-multivalue-rdn",
                "-days",
                "2",
                "-outform",
                "DER",
            ])
            .args(["-subj", subject, "-keyout", &at("key"), "-out", &at("cert")]);
        if !names.is_empty() {
            request.args(["-addext", &format!("subjectAltName={names}")]);
        }
        let output = request.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let shown = Command::new("openssl")
            .args([
                "x509",
                "-inform",
                "DER",
                "-in",
                &at("cert"),
                "-noout",
                "-subject",
            ])
            .args(["-nameopt", "RFC2253,-esc_msb,utf8"])
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let shown = shown.trim_end_matches('\n').trim_start_matches("subject=");
        (std::fs::read(at("cert")).unwrap(), shown.to_owned())
    }

    #[test]
    fn subjects_are_as_openssl_writes_them() {
        for (subject, names, expected) in [
            ("/C=EU/O=Site/CN=ann", "", &[][..]),
            ("/DC=org/DC=site/OU=a, b/CN=Ann \"Ä\" Ü+UID=7", "", &[]),
            (
                "/O=Site/CN=ann,O=Other",
                "DNS:a.site.org,email:ann@site.org",
                &["dns:a.site.org", "email:ann@site.org"],
            ),
            (
                "/CN= #<x>; ",
                "URI:spiffe://site/edge,IP:192.0.2.1",
                &["uri:spiffe://site/edge"],
            ),
            ("/CN=a\\\\b", "", &[]),
            ("/emailAddress=a@b.c/serialNumber=5/ST=x/L=y/CN=z", "", &[]),
        ] {
            let (der, shown) = made(subject, names);
            let found = claimed(&der).unwrap();
            assert_eq!(found.subject, shown);
            assert_eq!(found.more, expected, "{subject}");
        }
        assert_ne!(
            claimed(&made("/O=Site/CN=ann", "").0).unwrap().subject,
            claimed(&made("/CN=ann,O=Site", "").0).unwrap().subject
        );
    }

    #[test]
    fn what_cannot_be_written_plainly_names_nobody() {
        // An attribute that is not known, and a control character.
        for subject in ["/CN=ann/title=root", "/CN=a\u{1}b"] {
            assert_eq!(claimed(&made(subject, "").0), None, "{subject}");
        }
        let (der, _) = made("/CN=ann", "DNS:a.b");
        for end in 0..der.len() - 100 {
            assert!(claimed(&der[..end]).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = claimed(&bytes);
            let _ = subject(&bytes);
            let _ = names(&bytes);
        }
    }
}
