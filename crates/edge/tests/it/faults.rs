//! Damaged, half-written and missing files: what serves goes on serving, and says what it refused.
//!
//! Start at [`damage_leaves_the_old_one_serving`].

use std::fs;
use std::path::Path;

use domain::Problem;
use edge::EdgeError;
use recommend::RecommenderKind;

use crate::client::Running;
use crate::project::Project;

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Spoils number 2, waits until it was refused, and checks that number 1 answers as before.
async fn check(what: &str, code: &str, spoil: impl Fn(&Project, &str, &str)) {
    let project = Project::ready(60, 50);
    let running = Running::start(project.config()).await.unwrap();
    let before = running.get("/v1/users/u1/recommendations").await;
    let better = project.train(RecommenderKind::Ease, "7");
    let popularity = project.train(RecommenderKind::Popularity, "");
    spoil(&project, &better, &popularity);

    let refusal = format!("{what} 2 was refused: {code}");
    let ready = running.wait_until("/readyz", |answer| answer.body.contains(&refusal)).await;
    assert_eq!(ready.status, 200, "it still serves: {}", ready.body);
    assert_eq!(ready.json()["components"]["recommendations"]["state"], "degraded");
    assert!(!ready.body.contains(project.path().to_str().unwrap()), "paths stay inside: {}", ready.body);
    let text = running.get("/metrics").await.body;
    assert!(text.contains(&format!("montauk_serving_load_failures_total{{what=\"{what}\"}} 1\n")), "{text}");
    assert_eq!(running.get("/v1/users/u1/recommendations").await.body, before.body);

    // Number 3 is whole: it comes into service over the damaged one.
    let healthy = project.train(RecommenderKind::Ease, "9");
    project.promote("ease", 3, &healthy, Some(&popularity));
    project.publish(3, |_| true);
    let after = running.wait_until("/v1/users/u1/recommendations", |answer| answer.json()["feed"] == 3).await;
    let ready = running.wait_until("/readyz", |answer| answer.body.contains("promotion 3")).await;
    assert_eq!(after.status, 200);
    assert!(ready.body.contains("feed 3"), "{}", ready.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_leaves_the_old_one_serving() {
    check("promotion", "artefact_damaged", |project, better, popularity| {
        flip_a_byte(&project.artefact(better).join("model.safetensors"));
        project.promote("ease", 2, better, Some(popularity));
    })
    .await;
    check("promotion", "artefact_damaged", |project, better, popularity| {
        truncate(&project.artefact(better).join("items.json"));
        project.promote("ease", 2, better, Some(popularity));
    })
    .await;
    check("promotion", "no_such_artefact", |project, _, popularity| {
        project.promote("ease", 2, "ease-0000000000000000", Some(popularity));
    })
    .await;
    check("promotion", "not_a_fallback", |project, better, _| project.promote("ease", 2, better, Some(better))).await;
    check("promotion", "serving_file_damaged", |project, _, popularity| {
        project.promote("ease", 9, "../../etc", Some(popularity));
        let directory = project.state().join("promoted/ease");
        let text = fs::read_to_string(directory.join(format!("{:020}.json", 9))).unwrap().replace(":9,", ":2,");
        fs::remove_file(directory.join(format!("{:020}.json", 9))).unwrap();
        project.write_promotion("ease", 2, &text);
    })
    .await;
    check("promotion", "serving_file_damaged", |project, _, _| project.write_promotion("ease", 2, "{\"format_ver"))
        .await;
    check("promotion", "serving_format_version", |project, _, _| {
        project.write_promotion("ease", 2, "{\"format_version\":99,\"unheard\":\"of\"}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_feeds_leave_the_old_one_serving() {
    for (name, spoil) in [
        ("histories.ndjson.zst", flip_a_byte as fn(&Path)),
        ("items.ndjson.zst", truncate as fn(&Path)),
        ("header.json", truncate as fn(&Path)),
    ] {
        check("feed", "serving_file_damaged", |project, _, _| {
            // Spoiled before it is visible, else the follower might take it while it is still whole.
            project.publish(200, |_| true);
            fs::rename(project.feed(200), project.state().join("aside")).unwrap();
            let header = project.state().join("aside/header.json");
            let text = fs::read_to_string(&header).unwrap().replace("\"feed\":200", "\"feed\":2");
            fs::write(&header, text).unwrap();
            spoil(&project.state().join("aside").join(name));
            fs::rename(project.state().join("aside"), project.feed(2)).unwrap();
        })
        .await;
    }
    check("feed", "snapshot_unusable", |project, _, _| project.publish(2, |_| false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_still_being_written_is_not_looked_at() {
    let project = Project::ready(60, 50);
    fs::create_dir_all(project.feed(2)).unwrap();
    fs::write(project.feed(2).join("items.ndjson.zst"), "half").unwrap();
    let running = Running::start(project.config()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let ready = running.get("/readyz").await.json();
    assert_eq!(ready["components"]["recommendations"]["state"], "ready", "{ready}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_damage_takes_the_newest_that_is_whole() {
    let project = Project::ready(60, 50);
    project.write_promotion("ease", 2, "not json");
    project.publish(2, |_| true);
    truncate(&project.feed(2).join("histories.ndjson.zst"));
    let running = Running::start(project.config()).await.unwrap();
    let json = running.get("/v1/users/u1/recommendations").await.json();
    assert_eq!((&json["source"], &json["feed"]), (&"personal".into(), &1.into()));
    let ready = running.get("/readyz").await;
    assert!(
        ready.body.contains("promotion 2 was refused") && ready.body.contains("feed 2 was refused"),
        "{}",
        ready.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_nothing_is_an_error_or_waits() {
    let project = Project::new(60, 50);
    let code = |outcome: Result<Running, EdgeError>| outcome.err().expect("an error").code();
    assert_eq!(code(Running::start(project.config()).await), "nothing_promoted");
    let ease = project.train(RecommenderKind::Ease, "100");
    let popularity = project.train(RecommenderKind::Popularity, "");

    let mut waiting = project.config();
    waiting.wait = true;
    let running = Running::start(waiting).await.unwrap();
    assert_eq!(running.get("/livez").await.status, 200);
    let ready = running.get("/readyz").await;
    assert!(ready.status == 503 && ready.body.contains("nothing_promoted"), "{}", ready.body);
    let answer = running.get("/v1/users/u1/recommendations").await;
    assert!(answer.status == 503 && answer.json()["code"] == "not_ready", "{}", answer.body);

    project.promote("ease", 1, &ease, Some(&popularity));
    assert_eq!(code(Running::start(project.config()).await), "no_feed");
    project.publish(1, |_| true);
    running.wait_until("/readyz", |answer| answer.status == 200).await;
    assert_eq!(running.get("/v1/users/u1/recommendations").await.status, 200);

    // Who serves goes on with whichever is promoted last; who named one stays with it.
    let mut chosen = project.config();
    chosen.service.recommender = Some("ease".to_owned());
    let chosen = Running::start(chosen).await.unwrap();
    project.promote("ease_2", 2, &ease, Some(&popularity));
    running.wait_until("/readyz", |answer| answer.body.contains("recommender `ease_2`, promotion 2")).await;
    project.promote("ease", 3, &ease, Some(&popularity));
    for running in [&running, &chosen] {
        let ready = running.wait_until("/readyz", |answer| answer.body.contains("promotion 3")).await;
        assert!(ready.body.contains("recommender `ease`"), "{}", ready.body);
    }
}
