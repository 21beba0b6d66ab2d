//! "Did you mean …?"

/// So many names are listed where none is near.
const MOST: usize = 40;
/// Nobody mistypes longer names, and comparing them takes time.
const LONGEST: usize = 200;

/// The name nearest to `wrong`, if any is near.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    let names = names.into_iter().filter(|name| name.len() <= LONGEST);
    let lower = wrong.to_lowercase();
    let score = |name: &str| strsim::jaro_winkler(&lower, &name.to_lowercase());
    let best = names.map(|name| (score(name), name));
    let best = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.78).then_some(best.1)
}

/// ``did you mean `x`?``, or the list of what there is.
pub fn help<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match nearest(wrong, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => format!("there are no {what}"),
        None if names.len() > MOST => {
            let more = names.len() - MOST;
            format!("{what}: {}, and {more} more", names[..MOST].join(", "))
        }
        None => format!("{what}: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_far_ones_listed() {
        let names = ["kmeans", "merge", "train"];
        assert_eq!(nearest("kmean", names), Some("kmeans"));
        assert_eq!(nearest("Kmeans", names), Some("kmeans"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(help("zzz", names, "kinds"), "kinds: kmeans, merge, train");
    }
}
