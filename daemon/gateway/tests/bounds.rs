//! Bodies, headers and nesting beyond their bounds, and requests that are none, at every door.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;
#[path = "harness/hostile.rs"]
mod hostile;

use hostile::site;

#[test]
fn bodies_headers_and_nesting_are_bounded_at_every_door() {
    let site = site();
    let admin = ("authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    let structured = ("content-type", "application/cloudevents+json");
    let doors = [
        ("POST", "/events", structured),
        ("POST", "/events/s3", admin),
        ("POST", "/system/services", admin),
        ("PUT", "/system/services", admin),
        ("POST", "/create", admin),
        ("POST", "/delete", admin),
        ("POST", "/status", admin),
        ("POST", "/getLogs", admin),
        ("PUT", "/v1/services/one/flow", admin),
    ];
    for (method, path, header) in doors {
        let ask = |body: &str| site.ask(method, path, &[header], body);
        for depth in [65, 20_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(ask(&deep), 400, "{path}, {depth} levels");
            let deep = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            assert!(matches!(ask(&deep), 400 | 413), "{path}, {depth} levels");
        }
        // Pods may be larger than the others.
        let is_pod = ["/create", "/delete", "/status", "/getLogs"].contains(&path);
        let limit = if is_pod { 16 << 20 } else { 65_536 };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{}: {}\r\n",
            header.0, header.1
        );
        let answer = site.raw(&format!("{head}content-length: {}\r\n\r\n", limit + 1), &[]);
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        if !is_pod {
            let piece = vec![b' '; limit + 1];
            let answer = site.raw(
                &format!(
                    "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n",
                    piece.len()
                ),
                &piece,
            );
            assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        }
    }
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(140 << 10));
    for headers in [many, long] {
        let answer = site.raw(
            &format!("POST /events HTTP/1.1\r\nhost: x\r\n{headers}\r\n"),
            &[],
        );
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    for odd in [
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/drain HTTP/1.1\r\n\r\n",
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        "POST /events HTTP/1.1\r\nhost: x\r\nx\0y: z\r\n\r\n",
        "POST /events HTTP/1.1\r\nhost: x\r\n x: folded\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = site.raw(odd, &[]);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{odd:?}: {answer}"
        );
        assert!(
            answer.matches("HTTP/1.1").count() < 2,
            "{odd:?}: two answers"
        );
    }
    assert_eq!(site.gateway.get("/health").0, 200);
}
