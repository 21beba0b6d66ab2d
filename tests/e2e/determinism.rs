//! The same workflow gives the same bytes, whatever runs beside what.

use crate::workspace::Workspace;

#[test]
fn one_job_and_two_give_the_same_bytes() {
    let two = Workspace::warm();
    let one = Workspace::small();
    one.run_small(&["--jobs", "1"]);
    let (one, two) = (one.artifacts(), two.artifacts());
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        two.keys().collect::<Vec<_>>()
    );
    for (name, artifact) in &one {
        assert_eq!(artifact, &two[name], "{name} differs between 1 and 2 jobs");
    }
}
