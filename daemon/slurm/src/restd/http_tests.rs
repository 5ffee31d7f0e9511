//! What is kept, what is sent and what is lost, against servers that misbehave.

use std::net::TcpListener;

use super::*;

/// A server that answers each connection's first request with these bytes and hangs up, or
/// hangs up at once.
fn server(answers: Vec<&'static [u8]>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let mut seen = Vec::new();
            while find(&seen, b"\r\n\r\n").is_none() {
                let count = stream.read(&mut bytes).unwrap();
                seen.extend_from_slice(&bytes[..count]);
            }
            stream.write_all(answer).unwrap();
        }
    });
    Client::new(place, Duration::from_secs(5))
}

fn get(client: &Client) -> Result<Answer, Failure> {
    client.send(&Request {
        method: "GET",
        path: "/x",
        headers: String::new(),
        body: b"",
    })
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let client = server(vec![ok, ok, ok]);
    for _ in 0..3 {
        let answer = get(&client).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
        // The server's end reaches us.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whether_a_request_was_sent_is_told() {
    for cut in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        let failure = get(&server(vec![cut])).unwrap_err();
        assert!(matches!(failure, Failure::Lost(_)), "{failure}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    drop(listener);
    let failure = get(&Client::new(place, Duration::from_secs(1))).unwrap_err();
    assert!(matches!(failure, Failure::NotSent { .. }), "{failure}");
}

#[test]
fn a_silent_server_costs_the_limit_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    let started = Instant::now();
    let failure = get(&Client::new(place, Duration::from_millis(200))).unwrap_err();
    assert!(matches!(failure, Failure::Lost(_)), "{failure}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn places_parse_and_print() {
    for text in ["unix:/run/slurmrestd.sock", "127.0.0.1:6820", "[::1]:6820"] {
        assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
    }
    for text in ["", "unix:run/x", "/run/x", "host:6820", "127.0.0.1"] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}
