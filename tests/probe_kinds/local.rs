//! `file` and `icmp`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use meridian::config::{ProbeKind, StateFile};
use meridian::health::{Cause, Outcome};

use crate::support::{found_by, probe};

async fn told(path: &Path) -> Outcome {
    let file = StateFile { path: path.to_owned(), max_age: Duration::from_secs(60) };
    found_by(probe(ProbeKind::File(file)), "192.0.2.7:0".parse().unwrap(), &[]).await
}

fn missing(outcome: Outcome) -> String {
    let Outcome::Missing { why } = outcome else { panic!("{outcome:?}") };
    why
}

#[tokio::test]
async fn what_another_program_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("{endpoint}-{address}");
    let path = folder.path().join("e-192.0.2.7");
    assert!(missing(told(&template).await).contains("cannot read"));
    fs::write(&path, "up\n").unwrap();
    assert!(told(&template).await.is_success());
    fs::write(&path, "degraded two of three\nmore").unwrap();
    let Outcome::Degraded { why, .. } = told(&template).await else { panic!() };
    assert_eq!(why, "two of three");
    fs::write(&path, "down for work").unwrap();
    assert_eq!(told(&template).await, Outcome::Failure { cause: Cause::Told("for work".to_owned()) });
    for odd in [vec![0xff; 1 << 20], b"fine\n".to_vec(), Vec::new()] {
        fs::write(&path, odd).unwrap();
        assert!(missing(told(&template).await).contains("does not begin"));
    }
    fs::write(&path, "up").unwrap();
    let old = SystemTime::now() - Duration::from_secs(90);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    assert!(missing(told(&template).await).contains("was last written 9"));
    assert!(missing(told(folder.path()).await).contains("no plain file"));
    assert!(missing(told(Path::new("/dev/zero")).await).contains("no plain file"));
}

#[tokio::test]
async fn an_echo_or_the_name_of_the_sysctl() {
    for target in ["127.0.0.1:0", "[::1]:0"] {
        match found_by(probe(ProbeKind::Icmp), target.parse().unwrap(), &[]).await {
            Outcome::Success { .. } => {}
            outcome => {
                let why = missing(outcome);
                assert!(why.contains("net.ipv4.ping_group_range"), "{why}");
                println!("no echo from here: {why}");
            }
        }
    }
}
