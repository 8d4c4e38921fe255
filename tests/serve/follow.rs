//! What changes are told, and what a server survives.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::{apply, try_ask};
use super::{Killed, Place, Served, file, wait_for};

fn id(page: &Value) -> String {
    page["id"].as_str().unwrap().to_owned()
}

/// `(instance, rev)`.
fn split(id: &str) -> (String, u64) {
    let (instance, rev) = id.rsplit_once('-').unwrap();
    (instance.to_owned(), rev.parse().unwrap())
}

#[test]
fn a_page_that_applies_the_changes_has_the_model_and_missed_ones_are_replayed() {
    let place = Place::new(&file("follow", 3, 3));
    let running = Killed(place.pretend(0.1, &["--quiet"]).stdout(std::process::Stdio::null()).spawn().unwrap());
    wait_for("the database", || place.path("sweep.db").exists().then_some(()));
    let served = place.serve(&[]);
    let mut page = wait_for("a page", || {
        let answer = served.get("/model", &[]);
        (answer.status == 200).then(|| answer.json())
    });
    let document = served.get("/", &[]).text();
    assert!(document.contains("data-live"), "{document:.200}");
    let begun = id(&page);
    let mut stream = served.events(&begun);
    assert!(stream.headers.iter().any(|(name, value)| name == "content-type" && value == "text/event-stream"));
    let mut changes = Vec::new();
    let mut keys = std::collections::BTreeSet::new();
    while page["model"]["sweep"]["state"] != "done" {
        let event = stream.expect("change");
        assert_eq!(event.id.as_deref(), event.data["id"].as_str());
        let (before, after) = (split(&id(&page)), split(event.data["id"].as_str().unwrap()));
        assert_eq!((before.0, before.1 + 1), after, "revs grow by one");
        for rows in event.data["rows"].as_object().unwrap().values() {
            keys.extend(rows["changed"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        }
        apply(&mut page, &event.data);
        changes.push(event);
    }
    assert_eq!(page, served.model(), "no change was lost");
    let rows = page["model"]["rows"].as_array().unwrap();
    assert!(rows.iter().filter(|row| row["kind"] == "strategy").count() == 6, "{rows:?}");
    assert!(rows.iter().all(|row| keys.contains(row["key"].as_str().unwrap())), "each row came by its key");
    assert_eq!(page["model"]["runs"]["recorded"], 9);
    drop(running);
    // Again from the middle, by either way of saying it.
    let middle = changes[changes.len() / 2].id.clone().unwrap();
    for mut stream in [served.events(&middle), served.stream("/events?since=nonsense-1", &[("Last-Event-ID", &middle)])] {
        for missed in &changes[changes.len() / 2 + 1..] {
            let event = stream.expect("change");
            assert_eq!((&event.id, &event.data), (&missed.id, &missed.data));
        }
    }
    // From nowhere.
    let (instance, rev) = split(&id(&page));
    for since in ["", "nonsense", "other-0", &format!("{instance}-{}", rev + 1)] {
        let event = served.events(since).expect("reset");
        assert_eq!((event.id, event.data), (None, json!({})), "{since}");
    }
    assert_eq!(served.stream("/events", &[]).expect("reset").data, json!({}));
}

#[test]
fn a_server_that_is_started_again_says_reset() {
    let place = Place::new(&file("again", 1, 1));
    place.pretended();
    let mut first = place.serve(&[]);
    let page = first.model();
    let mut stream = first.events(&id(&page));
    first.signal(Signal::INT);
    assert_eq!(first.ended(), Some(0), "{}", first.said());
    assert!(stream.next().is_none());
    let port = first.port.to_string();
    let second = Served::start(place.command(&["serve", "again", "--port", &port]));
    let mut stream = second.events(&id(&page));
    stream.expect("reset");
    let now = second.model();
    assert_eq!(now["model"], page["model"]);
    assert_ne!(split(&id(&now)).0, split(&id(&page)).0);
    assert_ne!(second.token, first.token);
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let place = Place::new(&file("later", 1, 1));
    let served = place.serve(&[]);
    assert!(served.said().contains("http://"));
    let waits = |why: &str| {
        let answer =
            wait_for(why, || Some(served.get("/", &[])).filter(|answer| answer.status == 503 && answer.text().contains(why)));
        assert!(answer.text().contains("data-waiting") && answer.text().contains("sweep run FILE"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("sha256-") && policy.contains("connect-src 'self'"), "{policy}");
        let model = served.get("/model", &[]);
        let said = model.json();
        assert!(
            model.status == 503 && said["why"].as_str().unwrap().contains(why) && said["command"] == "sweep run FILE",
            "{said}"
        );
        id(&said)
    };
    let mut stream = served.events(&waits("no database"));
    place.pretended();
    stream.expect("reset");
    let page = served.model();
    assert_eq!(page["model"]["sweep"]["title"], "later");
    // Another sweep is the latest one now.
    let mut stream = served.events(&id(&page));
    std::fs::write(place.path("sweep.toml"), file("newer", 1, 2)).unwrap();
    place.pretended();
    wait_for("a reset", || (stream.next().unwrap().name == "reset").then_some(()));
    assert_eq!(served.model()["model"]["sweep"]["title"], "newer");
    // The database is removed, and another one comes.
    let mut stream = served.events(&id(&served.model()));
    for file in ["sweep.db", "sweep.db-wal", "sweep.db-shm"] {
        let _ = std::fs::remove_file(place.path(file));
    }
    stream.expect("reset");
    let mut stream = served.events(&waits("no database"));
    std::fs::write(place.path("sweep.toml"), file("third", 1, 1)).unwrap();
    place.pretended();
    stream.expect("reset");
    assert_eq!(served.model()["model"]["sweep"]["title"], "third");
}

#[test]
fn a_sweep_that_does_not_exist_is_waited_for_by_its_name() {
    let place = Place::new(&file("one", 1, 1));
    place.pretended();
    let served = place.serve(&["two"]);
    wait_for("the warning", || served.said().contains("no sweep `two`; it has one").then_some(()));
    let said = served.get("/model", &[]);
    assert_eq!(said.status, 503);
    let mut stream = served.events(&id(&said.json()));
    std::fs::write(place.path("sweep.toml"), file("two", 1, 1)).unwrap();
    place.pretended();
    stream.expect("reset");
    assert_eq!(served.model()["model"]["sweep"]["title"], "two");
    let (code, said) = {
        std::fs::write(place.path("other.db"), "this is no database at all").unwrap();
        super::stderr(&mut place.command(&["serve", "--db", "other.db", "--port", "0"]))
    };
    assert!(code == Some(4) && said.contains("not a SQLite database"), "{said}");
}

#[test]
fn names_that_attack_stay_text() {
    let name = "</script><script>alert(1)</script> & content=\"SWEEP_REV\"";
    let place = Place::new(&file("plain", 1, 1).replace("name = \"plain\"", &format!("name = {}", json!(name))));
    place.pretended();
    let served = place.serve(&[]);
    let model = served.model();
    assert_eq!(model["model"]["sweep"]["title"], name);
    let html = served.get("/", &[]).text();
    assert!(!html.contains("<script>alert(1)") && !html.contains("<img src=x"), "{html}");
    assert!(!html.contains('\u{1b}'));
}

#[test]
fn run_serves_while_it_trains_and_ends_with_the_last_state() {
    let place = Place::new(&file("with", 3, 2));
    let mut served = Served::start(place.pretend(0.2, &["--serve", "--port", "0"]));
    let mut page = served.model();
    assert_eq!(page["model"]["sweep"]["state"], "running");
    let mut stream = served.events(&id(&page));
    let document = served.get("/", &[]);
    assert_eq!(document.status, 200);
    while let Some(event) = stream.next() {
        assert_eq!(event.name, "change");
        apply(&mut page, &event.data);
    }
    assert_eq!(page["model"]["sweep"]["state"], "done", "the last change is told before the end");
    assert_eq!(page["model"]["runs"]["recorded"], 6);
    assert_eq!(served.ended(), Some(0));
    let said = served.said();
    assert!(said.trim_end().ends_with("`sweep serve with` shows it again"), "{said}");
    let address = said.lines().position(|line| line.starts_with("http://")).unwrap();
    let trains = said.lines().position(|line| line.contains("6 to train")).unwrap();
    assert!(address < trains, "{said}");
    assert!(try_ask(served.port, "GET", "/", &[("Host", "localhost")], "").is_none(), "nobody is there any more");
}
