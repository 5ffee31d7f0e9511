//! Streams that are read back, by others too, and sizes that follow from entropy.

use std::io::Read as _;

use libdeflater::{CompressionLvl, Decompressor};
use proptest::prelude::*;

use super::parts::{RUN_MAX, RUN_MIN};
use super::*;

fn tool() -> Compressor {
    Compressor::new(CompressionLvl::new(1).unwrap())
}

/// Read back by libdeflate, which checks that nothing is left over.
fn check(bytes: &[u8], plane_bytes: usize) -> usize {
    let mut out = vec![7; 100];
    let end = deflate(bytes, plane_bytes, &mut tool(), &mut out, 2);
    let mut back = vec![0; bytes.len()];
    let length = Decompressor::new().deflate_decompress(&out[2..end], &mut back);
    assert_eq!(length.ok(), Some(bytes.len()));
    assert!(
        back == bytes,
        "{} bytes in planes of {plane_bytes}",
        bytes.len()
    );
    assert_eq!(out[..2], [7, 7]);
    end - 2
}

/// Bytes of a distribution, in no order: (seed, how many different).
fn noise(count: usize, different: u32) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // The lower the commoner.
        let squared = (u64::from(state) * u64::from(state)) >> 32;
        ((squared * u64::from(different)) >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn noise_takes_what_its_entropy_says_and_repetition_goes_to_libdeflate() {
    for different in [1, 4, 10, 100, 256] {
        let bytes = noise(300_000, different);
        assert_eq!(way(&bytes[..64_800]), Way::Codes, "{different}");
        let mut counts = [0; 256];
        bytes
            .iter()
            .for_each(|byte| counts[usize::from(*byte)] += 1);
        let entropy = entropy_bits(&counts, bytes.len());
        let most = (entropy / 8.0 + 0.02) * 3e5 + 600.0;
        let found = check(&bytes, 64_800) as f64;
        assert!(found <= most, "{different}: {found} of {most}");
    }
    // A code of whole bits is too coarse for two bytes.
    assert_eq!(way(&noise(64_800, 2)), Way::Search);
    let text: Vec<u8> = b"the quick brown fox jumps over the lazy dog. "
        .iter()
        .copied()
        .cycle()
        .take(300_000)
        .collect();
    assert_eq!(way(&text), Way::Search);
    assert!(check(&text, 64_800) < 3000);
    // Noise before, repetition after it.
    let both = [noise(64_800, 200), text].concat();
    assert!(check(&both, 64_800) < 64_800 + 3000);
}

/// Every byte as common as any other, in no order.
fn even_noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn even_noise_is_stored_but_not_the_runs_in_it() {
    let plane = 64_800;
    let bytes = [even_noise(plane), noise(plane, 40), even_noise(plane)].concat();
    assert_eq!(way(&bytes[..plane]), Way::Plain);
    let mut out = Vec::new();
    let end = deflate(&bytes, plane, &mut tool(), &mut out, 0);
    assert_eq!(out[0], 0, "a stored block that is not the last");
    assert_eq!(out[5..5 + plane], bytes[..plane]);
    assert!(end < 3 * plane - plane / 4, "the plane between has codes");
    for count in [
        plane,
        STORED_BYTES_MAX,
        STORED_BYTES_MAX + 1,
        3 * BLOCK_BYTES,
    ] {
        let stored = check(&even_noise(count), count);
        assert!(
            stored <= count + 5 * (count / STORED_BYTES_MAX + 3),
            "{count}"
        );
    }
    // Where the windows do not look.
    let mut land = even_noise(plane);
    land[3000..30_000].fill(7);
    assert_eq!(way(&land), Way::Plain);
    assert!(check(&land, plane) < plane - 26_000);
}

#[test]
fn rare_bytes_do_not_make_codes_too_long() {
    // Fibonacci's numbers make the deepest of trees.
    let (mut a, mut b) = (1_usize, 1);
    let mut bytes = Vec::new();
    for byte in 0..24_u8 {
        bytes.extend(std::iter::repeat_n(byte, a));
        (a, b) = (b, a + b);
    }
    let mut mixed = vec![0; bytes.len()];
    for (index, byte) in bytes.iter().enumerate() {
        // A step that is coprime to the length: all places once.
        mixed[index * 7919 % bytes.len()] = *byte;
    }
    check(&mixed, mixed.len());
    let counts = count(&Parts::of(&mixed));
    let lengths = code_lengths::<SYMBOLS>(&counts, CODE_BITS_MAX);
    let kraft: f64 = lengths
        .iter()
        .filter(|length| **length > 0)
        .map(|length| 0.5_f64.powi(i32::from(*length)))
        .sum();
    assert_eq!(kraft, 1.0);
}

#[test]
fn an_independent_reader_agrees() {
    let bytes = [noise(70_000, 50), vec![5; 70_000], noise(1, 9)].concat();
    let mut raw = Vec::new();
    let end = deflate(&bytes, 70_000, &mut tool(), &mut raw, 0);
    raw.truncate(end);
    let python = std::process::Command::new("python3")
        .args([
            "-c",
            "import sys,zlib;sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read(),-15))",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut python = python.unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), &raw).unwrap();
    let mut back = Vec::new();
    python
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut back)
        .unwrap();
    assert!(python.wait().unwrap().success());
    assert!(back == bytes);
}

proptest! {
    #[test]
    fn any_bytes_in_any_planes_come_back(
        mut bytes in proptest::collection::vec(0_u8..7, 0..20_000),
        runs in proptest::collection::vec((0_usize..20_000, 1_usize..2_000, any::<u8>()), 0..9),
        noise in 0_usize..20_000,
        plane_bytes in 1_usize..20_000,
    ) {
        bytes.extend(even_noise(noise));
        for (at, length, value) in runs {
            let end = (at + length).min(bytes.len());
            if at < end {
                bytes[at..end].fill(value);
            }
        }
        check(&bytes, plane_bytes);
    }

    #[test]
    fn every_length_of_a_run_has_its_code(run in 3_usize..3000) {
        let lengths: Vec<usize> = run_lengths(run).collect();
        prop_assert_eq!(lengths.iter().sum::<usize>(), run);
        for length in lengths {
            let (symbol, extra, extra_bits) = length_code(length);
            prop_assert!((RUN_MIN..=RUN_MAX).contains(&length));
            prop_assert!((257..286).contains(&symbol) && extra < 1 << extra_bits);
        }
    }
}
