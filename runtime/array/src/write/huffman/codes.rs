//! Huffman codes of symbols that come so often: their lengths, the codes themselves, and how the
//! lengths stand in a block's header.

/// Code lengths as the header has them: symbol, extra bits, their number.
pub(super) fn pack_lengths(lengths: &[u8]) -> Vec<(u8, u32, u32)> {
    let mut packed = Vec::new();
    let mut at = 0;
    while at < lengths.len() {
        let value = lengths[at];
        let run = lengths[at..]
            .iter()
            .take_while(|next| **next == value)
            .count();
        let taken = match (value, run) {
            (0, 11..) => {
                let taken = run.min(138);
                packed.push((18, (taken - 11) as u32, 7));
                taken
            }
            (0, 3..) => {
                packed.push((17, (run - 3) as u32, 3));
                run
            }
            (_, 4..) => {
                // The first as such, then "again".
                let again = (run - 1).min(6);
                packed.push((value, 0, 0));
                packed.push((16, (again - 3) as u32, 2));
                again + 1
            }
            _ => {
                packed.push((value, 0, 0));
                1
            }
        };
        at += taken;
    }
    packed
}

/// Lengths of the best codes of at most `max` bits for symbols that come so often. At least two
/// symbols get one: a code of a single symbol is not complete.
pub(super) fn code_lengths<const N: usize>(counts: &[u32; N], max: u8) -> [u8; N] {
    let mut counts = *counts;
    let mut used: Vec<usize> = (0..N).filter(|symbol| counts[*symbol] > 0).collect();
    for (symbol, count) in counts.iter_mut().enumerate() {
        if used.len() < 2 && *count == 0 {
            *count = 1;
            used.push(symbol);
        }
    }
    used.sort_by_key(|symbol| (counts[*symbol], *symbol));
    loop {
        let weights: Vec<u64> = used.iter().map(|symbol| counts[*symbol].into()).collect();
        let depths = depths(&weights);
        if depths.iter().all(|depth| *depth <= u32::from(max)) {
            let mut lengths = [0; N];
            for (symbol, depth) in used.iter().zip(depths) {
                lengths[*symbol] = depth as u8;
            }
            return lengths;
        }
        // Rare symbols made less rare shorten the longest codes; the order stays.
        for symbol in &used {
            counts[*symbol] = counts[*symbol] / 2 + 1;
        }
    }
}

/// Depths in a Huffman tree of weights in rising order.
fn depths(weights: &[u64]) -> Vec<u32> {
    let leaves = weights.len();
    let mut nodes: Vec<u64> = weights.to_vec();
    let mut parents = vec![0_usize; 2 * leaves - 1];
    let (mut leaf, mut inner) = (0, leaves);
    for next in leaves..2 * leaves - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            // Of equal weights the leaf first: the tree is flatter.
            let takes_leaf = leaf < leaves && (inner >= next || nodes[leaf] <= nodes[inner]);
            let taken = if takes_leaf { &mut leaf } else { &mut inner };
            sum += nodes[*taken];
            parents[*taken] = next;
            *taken += 1;
        }
        nodes.push(sum);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    for node in (0..2 * leaves - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// Codes and their lengths, as the format orders them, the first bit lowest.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [(u32, u32); N] {
    let mut counts = [0_u32; 16];
    for length in lengths.iter().filter(|length| **length > 0) {
        counts[usize::from(*length)] += 1;
    }
    let mut next = [0_u32; 16];
    for bits in 1..16 {
        next[bits] = (next[bits - 1] + counts[bits - 1]) << 1;
    }
    std::array::from_fn(|symbol| {
        let bits = u32::from(lengths[symbol]);
        if bits == 0 {
            return (0, 0);
        }
        let code = next[bits as usize];
        next[bits as usize] += 1;
        (code.reverse_bits() >> (32 - bits), bits)
    })
}
