//! `script`: programs that say how a target fares, started by the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use meridian::config::{Probe, ProbeKind, Process, Script};
use meridian::health::{Cause, CheckId, Outcome};
use meridian::probe::{Prober, Report, Scripts, Spawner, Trust};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{check, probe};

/// What has not come by then does not come.
const DEADLINE: Duration = Duration::from_secs(60);

fn spawner() -> Spawner {
    Spawner::start(Path::new(env!("CARGO_BIN_EXE_meridian")), &Process::default()).unwrap()
}

fn command(command: &[&str]) -> Probe {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    // Once is enough.
    Probe { interval: Duration::from_secs(86_400), port: 443, ..probe(ProbeKind::Script(Script { command })) }
}

fn shell(text: &str) -> Probe {
    command(&["/bin/sh", "-c", text])
}

fn run(probe: Probe, scripts: Option<Scripts>) -> (Prober, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel(1);
    let trust = Arc::new(Trust::load(&[], &mut BTreeMap::new()).unwrap());
    let check = Arc::new(check(probe, "192.0.2.7:443".parse().unwrap()));
    let mut prober = Prober::new(Duration::from_millis(40), sender).with_scripts(scripts);
    prober.reconfigure([(CheckId(7), &check)], &trust);
    (prober, reports)
}

async fn found(probe: Probe, scripts: &Scripts) -> Outcome {
    let (_prober, mut reports) = run(probe, Some(scripts.clone()));
    reports.recv().await.unwrap().outcome
}

fn degraded(outcome: Outcome) -> String {
    let Outcome::Degraded { why, .. } = outcome else { panic!("{outcome:?}") };
    why
}

fn missing(outcome: Outcome) -> String {
    let Outcome::Missing { why } = outcome else { panic!("{outcome:?}") };
    why
}

fn told(why: &str) -> Outcome {
    Outcome::Failure { cause: Cause::Told(why.to_owned()) }
}

#[tokio::test]
async fn the_end_of_a_program_decides() {
    let scripts = Scripts::from(spawner());
    assert!(found(shell("echo all is well"), &scripts).await.is_success());
    assert_eq!(degraded(found(shell("echo two of three; echo more; exit 1"), &scripts).await), "two of three");
    assert_eq!(found(shell("echo 'no stock'; exit 3"), &scripts).await, told("no stock"));
    assert_eq!(found(shell("exit 2"), &scripts).await, told("/bin/sh ends with status 2"));
    assert_eq!(found(shell("kill -9 $$"), &scripts).await, told("/bin/sh is ended by signal 9"));
    let absent = missing(found(command(&["/nowhere/check-stock"]), &scripts).await);
    assert!(absent.starts_with("/nowhere/check-stock cannot be started: No such file"), "{absent}");
    assert!(missing(found(command(&["/"]), &scripts).await).contains("cannot be started"));
}

#[tokio::test]
async fn what_a_program_knows() {
    let scripts = Scripts::from(spawner());
    let all = "echo $MERIDIAN_ENDPOINT $MERIDIAN_TARGET $MERIDIAN_CLOUD $MERIDIAN_REGION $1; exit 1";
    let all = command(&["/bin/sh", "-c", all, "sh", "--fast"]);
    assert_eq!(degraded(found(all, &scripts).await), "e 192.0.2.7:443 aws eu-west-1 --fast");
    // The last are the shell's own.
    let names = "echo $(env | cut -d= -f1 | grep -v -e '^PWD$' -e '^OLDPWD$' -e '^SHLVL$' -e '^_$' | sort); exit 1";
    let expected = "MERIDIAN_CLOUD MERIDIAN_ENDPOINT MERIDIAN_REGION MERIDIAN_TARGET PATH";
    assert_eq!(degraded(found(shell(names), &scripts).await), expected);
    assert_eq!(
        degraded(found(shell("read line || echo nothing is asked; exit 1"), &scripts).await),
        "nothing is asked"
    );
}

#[tokio::test]
async fn much_output_is_read_and_forgotten() {
    let scripts = Scripts::from(spawner());
    assert_eq!(degraded(found(shell("yes | head -n 1000000; exit 1"), &scripts).await), "y");
    let long = found(shell("head -c 100000 /dev/zero | tr '\\0' x; exit 3"), &scripts).await;
    assert_eq!(long, told(&"x".repeat(200)));
    let timeout = Duration::from_millis(500);
    let endless = found(Probe { timeout, ..shell("yes") }, &scripts).await;
    assert_eq!(endless, Outcome::Failure { cause: Cause::Timeout(timeout) });
}

/// A pipe with a name. What is said into it, once all who hold it are gone.
fn pipe(folder: &Path) -> (String, JoinHandle<String>) {
    let path = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let name = path.to_str().unwrap().to_owned();
    (name, tokio::task::spawn_blocking(move || fs::read_to_string(path).unwrap()))
}

#[tokio::test]
async fn who_hangs_is_killed_with_all_that_it_has_started() {
    let scripts = Scripts::from(spawner());
    let folder = tempfile::tempdir().unwrap();
    let (name, said) = pipe(folder.path());
    let timeout = Duration::from_secs(1);
    let hanging = shell(&format!("exec 3>{name}; echo begun >&3; sleep 300 & sleep 300"));
    let outcome = found(Probe { timeout, ..hanging }, &scripts).await;
    assert_eq!(outcome, Outcome::Failure { cause: Cause::Timeout(timeout) });
    assert_eq!(tokio::time::timeout(DEADLINE, said).await.expect("all are killed").unwrap(), "begun\n");
    // And who leaves something behind, too; nor does its open output hold anything up.
    let folder = tempfile::tempdir().unwrap();
    let (name, said) = pipe(folder.path());
    let leaving = shell(&format!("echo left behind; exec 3>{name}; echo begun >&3; sleep 300 & exit 1"));
    assert_eq!(degraded(found(leaving, &scripts).await), "left behind");
    assert_eq!(tokio::time::timeout(DEADLINE, said).await.expect("all are killed").unwrap(), "begun\n");
}

#[tokio::test]
async fn nothing_outlives_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (name, said) = pipe(folder.path());
    let (begun_name, begun) = {
        let folder = folder.path().join("begun");
        fs::create_dir(&folder).unwrap();
        pipe(&folder)
    };
    let hanging = shell(&format!("exec 3>{name}; echo begun > {begun_name}; sleep 300 & sleep 300"));
    let running = run(hanging, Some(spawner().into()));
    assert_eq!(tokio::time::timeout(DEADLINE, begun).await.expect("it runs").unwrap(), "begun\n");
    drop(running);
    assert_eq!(tokio::time::timeout(DEADLINE, said).await.expect("all are killed").unwrap(), "");
}

#[tokio::test]
async fn without_who_starts_them_they_tell_nothing() {
    let (_prober, mut reports) = run(shell("exit 0"), None);
    assert!(missing(reports.recv().await.unwrap().outcome).contains("restart needed"));
    let spawner = spawner();
    let id = spawner.id();
    let scripts = Scripts::from(spawner);
    assert!(found(shell("exit 0"), &scripts).await.is_success());
    assert!(Command::new("sh").args(["-c", &format!("kill -9 {id}")]).status().unwrap().success());
    for _ in 0..2 {
        assert!(missing(found(shell("exit 0"), &scripts).await).contains("is gone: restart needed"));
    }
}

#[test]
fn a_user_that_cannot_be_had_is_told_at_the_start() {
    let wanted = Process { user: Some("no-such-user".into()), ..Process::default() };
    let error = Spawner::start(Path::new(env!("CARGO_BIN_EXE_meridian")), &wanted).unwrap_err();
    assert!(error.to_string().contains("did not get ready"), "{error}");
}
