//! Libraries that may panic on a file that somebody made for it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use anyhow::{anyhow, bail};
use tch::TchError;

/// What `f` returns; a panic in it is an error. For reading only: what `f` has half done is dropped.
pub fn caught<T>(f: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(anyhow!(
            "it makes no sense ({})",
            said(&*panic).unwrap_or("no reason given")
        ))
    })
}

fn said(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
}

/// What `f`, which computes with libtorch, returns. tch panics where libtorch throws; of what that
/// says, where in C++ it was is left out. `smaller`: what to do where memory is short.
pub fn computing<T>(smaller: &str, f: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say_plainly();
    let error = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => match error.downcast_ref::<TchError>() {
            Some(TchError::Torch(text)) => plain(text),
            _ => return Err(error),
        },
        Err(panic) => match said(&*panic).and_then(thrown) {
            Some(text) => plain(&text),
            None => resume_unwind(panic),
        },
    };
    let signs = ["out of memory", "can't allocate memory"];
    match signs.iter().any(|sign| error.contains(sign)) {
        true => bail!("it does not fit into the memory: {smaller} (libtorch: {error})"),
        false => bail!("libtorch: {error}"),
    }
}

/// What libtorch throws is no panic of ours: nobody needs to see where it was.
fn say_plainly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if said(info.payload()).and_then(thrown).is_none() {
                before(info);
            }
        }));
    });
}

/// libtorch's text in what a panic of tch's `unwrap` says, which shows it as Rust's source would.
fn thrown(panic: &str) -> Option<String> {
    let (_, shown) = panic.split_once("Torch(\"")?;
    let shown = shown.rsplit_once("\")")?.0;
    Some(
        shown
            .replace("\\n", "\n")
            .replace("\\\"", "\"")
            .replace("\\'", "'"),
    )
}

fn plain(text: &str) -> String {
    let ends = ["\nException raised from", "frame #0:"];
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let text = &text[..end.unwrap_or(text.len())];
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn what_libtorch_throws_is_said_plainly() {
        tch::set_num_threads(1);
        let wide = |n: i64| Tensor::zeros([n, n], (Kind::Float, Device::Cpu));
        let said = |f: &dyn Fn() -> anyhow::Result<Tensor>| {
            computing("lower `batch`", f).unwrap_err().to_string()
        };
        let panicked = said(&|| Ok(wide(2).matmul(&wide(3))));
        let returned = said(&|| Ok(wide(2).f_matmul(&wide(3))?));
        assert_eq!(panicked, returned);
        assert!(panicked.starts_with("libtorch: "), "{panicked}");
        assert!(!panicked.contains("frame #"), "{panicked}");
        let large = said(&|| Ok(wide(1 << 25)));
        assert!(
            large.starts_with("it does not fit into the memory: lower `batch` (libtorch: "),
            "{large}"
        );
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        let error = computing("", || Err::<(), _>(anyhow!("Torch is no library"))).unwrap_err();
        assert_eq!(error.to_string(), "Torch is no library");
        let panic = catch_unwind(|| computing("", || -> anyhow::Result<()> { panic!("ours") }));
        assert_eq!(said(&*panic.unwrap_err()), Some("ours"));
    }
}
