//! Where to start from with a corpus of some size: clusters, proxies, iterations.

use crate::train::Size;

/// Numbers for a first search.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    pub clusters: u64,
    pub final_clusters: u64,
    /// The proxy's size, as `model` of `train` takes it.
    pub proxy: &'static str,
    /// Training tokens of a proxy.
    pub tokens: u64,
    pub context: u64,
    pub batch: u64,
    pub vocab_size: u64,
    pub runs: &'static [u64],
}

/// Bytes of text in a token, roughly.
const BYTES_PER_TOKEN: u64 = 4;
/// Documents that a cluster should have on average, so that its share can be told from noise.
const PER_CLUSTER: u64 = 100;

/// The paper's numbers (K = 1000, 62M proxies, 64:32:16 runs) where there is enough text for them,
/// and less of everything where there is not: a proxy sees about the corpus once at most, and 20
/// tokens a parameter.
pub fn suggest(documents: u64, text_bytes: u64) -> Suggestion {
    let tokens = text_bytes / BYTES_PER_TOKEN;
    let clusters = (documents / PER_CLUSTER).clamp(4, 1000);
    let clusters = clusters.min(documents.max(1));
    let (size, proxy, context, batch, vocab_size) = match tokens {
        0..50_000_000 => (Size::Nano, "nano", 128, 16, 2048),
        50_000_000..1_000_000_000 => (Size::M1, "1M", 256, 32, 8192),
        1_000_000_000..10_000_000_000 => (Size::M20, "20M", 1024, 64, 32_000),
        _ => (Size::M62, "62M", 2048, 256, 32_000),
    };
    let params = size.dims().params(vocab_size as i64).unsigned_abs();
    let runs: &[u64] = if proxy == "nano" {
        &[16, 8, 4]
    } else {
        &[64, 32, 16]
    };
    Suggestion {
        clusters,
        final_clusters: (clusters / 4).clamp(2, 20).min(clusters),
        proxy,
        tokens: two_digits((20 * params).min(tokens.max(2_000))),
        context,
        batch,
        vocab_size,
        runs,
    }
}

/// 2,913,472 -> 2,900,000: nobody wants the rest.
fn two_digits(n: u64) -> u64 {
    let mut unit = 1;
    while n / unit >= 100 {
        unit *= 10;
    }
    n / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_text_suggests_more_of_everything_up_to_the_papers_numbers() {
        let small = suggest(6_000, 12_000_000);
        assert_eq!((small.clusters, small.proxy), (60, "nano"));
        let huge = suggest(1_000_000_000, 4_000_000_000_000);
        assert_eq!((huge.clusters, huge.final_clusters), (1000, 20));
        assert_eq!((huge.proxy, huge.runs), ("62M", &[64, 32, 16][..]));
        assert!(huge.tokens > small.tokens);
    }

    #[test]
    fn a_handful_of_documents_never_gets_more_clusters_than_it_has() {
        for documents in 1..20 {
            let tiny = suggest(documents, 1000);
            assert!(tiny.clusters <= documents && tiny.final_clusters <= tiny.clusters);
        }
    }
}
