//! The commands, against a node alone.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{
    Database, Node, Running, directory, eventually, finish, program, runs, serve,
};

/// A node with the table `music`.
fn music() -> Node {
    let node = Node::start();
    let create = ["table", "create", "music", "--key", "artist:S", "--sort", "song:S", "--wait"];
    node.database.run(&create).ok();
    node
}

fn put(database: &Database, item: &Value) {
    database.run(&["item", "put", "music", "--item", &item.to_string()]).ok();
}

#[test]
fn a_table_is_made_listed_described_and_deleted() {
    let node = music();
    let database = &node.database;
    let again = ["table", "create", "music", "--key", "artist:S"];
    assert!(database.run(&again).refused(1).contains("ResourceInUseException"));
    let other = ["table", "create", "other", "--key", "n:N", "--partitions", "2", "--wait"];
    assert!(database.run(&other).ok().contains("ACTIVE"));

    assert_eq!(database.run(&["table", "list"]).ok(), "music\nother\n");
    let names = database.run(&["table", "list", "--output", "json"]).json();
    assert_eq!(names, json!(["music", "other"]));
    let told = database.run(&["table", "describe", "other", "--output", "json"]).json();
    assert_eq!(told["key"], json!("n:N"));
    assert_eq!(told["sort"], json!(null));
    assert_eq!(told["partitions"], json!(2));

    let protect =
        |on| ["table", "update", "other", "--deletion-protection", on, "--output", "json"];
    let told = database.run(&protect("true")).json();
    assert_eq!(told["deletion_protection"], json!(true));
    let refused = database.run(&["table", "delete", "other", "--yes"]).refused(1);
    assert!(refused.contains("stator table update other --deletion-protection false"), "{refused}");
    let told = database.run(&protect("false")).json();
    assert_eq!(told["deletion_protection"], json!(false));

    assert!(database.run(&["table", "delete", "other"]).refused(2).contains("--yes"));
    assert_eq!(database.run(&["table", "list"]).ok(), "music\nother\n");
    database.run(&["table", "delete", "other", "--yes"]).ok();
    assert!(eventually(|| database.run(&["table", "list"]).ok() == "music\n"));
    let gone = database.run(&["table", "describe", "other"]).refused(1);
    assert!(gone.contains("ResourceNotFoundException") && gone.contains("stator table list"));
}

#[test]
fn an_item_is_put_got_updated_and_deleted() {
    let node = music();
    let database = &node.database;
    let key = r#"{"artist":"a","song":"x"}"#;
    let get = |more: &[&str]| {
        database.run(&[&["item", "get", "music", "--key", key], more].concat()).ok()
    };
    assert_eq!(get(&[]), "null\n");

    // As text, from a file, from standard input; numbers keep all of their digits.
    let item = r#"{"artist":"a","n":12345678901234567890.123456789012345678,"song":"x"}"#;
    database.run(&["item", "put", "music", "--item", item]).ok();
    assert_eq!(get(&[]), format!("{item}\n"));
    let item = r#"{"artist":"a","from":"file","song":"x"}"#;
    fs::write(database.dir().join("item.json"), item).expect("written");
    database.run(&["item", "put", "music", "--item", "@item.json"]).ok();
    assert_eq!(get(&[]), format!("{item}\n"));
    let item = r#"{"artist":"a","from":"stdin","song":"x","year":1971}"#;
    database.run_with(&["item", "put", "music", "--item", "-"], item).ok();
    assert_eq!(get(&["--eventual"]), format!("{item}\n"));
    assert_eq!(get(&["--projection", "#y", "--names", r##"{"#y":"year"}"##]), "{\"year\":1971}\n");
    assert_eq!(get(&["--output", "text", "--projection", "song"]), "song  x\n");

    let update = [
        ["item", "update", "music", "--key", key].as_slice(),
        &["--update", "SET #y = #y + :one", "--return", "updated-new"],
        &["--names", r##"{"#y":"year"}"##, "--values", r#"{":one":1}"#],
    ]
    .concat();
    assert_eq!(database.run(&update).json(), json!({ "year": 1972 }));

    let refused = database.run(
        &[
            ["item", "put", "music", "--item", key].as_slice(),
            &["--condition", "attribute_not_exists(artist)"],
        ]
        .concat(),
    );
    let told = refused.refused(1);
    assert!(told.contains("ConditionalCheckFailedException") && told.contains("1972"), "{told}");

    let delete = ["item", "delete", "music", "--key", key];
    let old = database.run(&[delete.as_slice(), &["--return", "all-old"]].concat()).json();
    assert_eq!(old["year"], json!(1972));
    assert_eq!(get(&[]), "null\n");
    database.run(&delete).ok();
}

#[test]
fn typed_json_says_what_plain_json_cannot() {
    let node = music();
    let database = &node.database;
    let item = r#"{"artist":{"S":"a"},"bin":{"B":"AAEC"},"set":{"NS":["1","2"]},"song":{"S":"x"}}"#;
    database.run(&["item", "put", "music", "--ddb-json", "--item", item]).ok();
    let key = r#"{"artist":{"S":"a"},"song":{"S":"x"}}"#;
    let got = database.run(&["item", "get", "music", "--ddb-json", "--key", key]).ok();
    assert_eq!(got, format!("{item}\n"));
    let plain = database.run(&["scan", "music"]).ok();
    assert_eq!(plain, "{\"artist\":\"a\",\"bin\":\"AAEC\",\"set\":[1,2],\"song\":\"x\"}\n");
}

#[test]
fn queries_and_scans_print_a_line_an_item() {
    let node = music();
    let database = &node.database;
    for song in ["a", "b", "c", "d"] {
        put(database, &json!({ "artist": "one", "song": song, "lengthy": song > "b" }));
    }
    put(database, &json!({ "artist": "two", "song": "z", "lengthy": true }));
    let songs = |arguments: &[&str]| -> Vec<String> {
        let lines = database.run(arguments).lines();
        lines.iter().map(|line| line["song"].as_str().expect("a song").to_owned()).collect()
    };
    let query = |more: &[&str]| {
        let whole = ["query", "music", "--key-condition", "artist = :a"];
        songs(&[whole.as_slice(), more].concat())
    };
    let one = ["--values", r#"{":a":"one"}"#];
    assert_eq!(query(&one), ["a", "b", "c", "d"]);
    assert_eq!(query(&[&one[..], &["--reverse", "--limit", "2"]].concat()), ["d", "c"]);
    let long = ["--values", r#"{":a":"one",":t":true}"#, "--filter", "lengthy = :t"];
    assert_eq!(query(&[&long[..], &["--projection", "song"]].concat()), ["c", "d"]);

    let limited = [&["query", "music", "--key-condition", "artist = :a"], &one[..]].concat();
    let limited = database.run(&[&limited[..], &["--limit", "3"]].concat());
    let (_, next) = limited.err.split_once("--start-key '").expect("where to go on");
    let next = next.trim_end().trim_end_matches('\'').to_owned();
    assert_eq!(query(&[&one[..], &["--start-key", &next]].concat()), ["d"]);

    let mut all = songs(&["scan", "music"]);
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c", "d", "z"]);
    let count =
        ["scan", "music", "--count", "--filter", "lengthy = :t", "--values", r#"{":t":true}"#];
    assert_eq!(database.run(&count).json(), json!({ "count": 3, "scanned": 5 }));
    let mut parts: Vec<String> = (0..3)
        .flat_map(|n| songs(&["scan", "music", "--segments", "3", "--segment", &n.to_string()]))
        .collect();
    parts.sort_unstable();
    assert_eq!(parts, all);
}

#[test]
fn a_dump_is_loaded_as_it_was() {
    let node = music();
    let database = &node.database;
    let item = json!({
        "artist": { "S": "a\nb" }, "song": { "S": "\u{1F3B5}" }, "n": { "N": "1E+100" }, "b": { "B": "/w==" },
        "ss": { "SS": ["x", "y"] }, "l": { "L": [{ "NULL": true }, { "M": { "k": { "BOOL": false } } }] },
    });
    let typed = ["item", "put", "music", "--ddb-json", "--item", &item.to_string()];
    database.run(&typed).ok();
    for n in 0..60 {
        put(database, &json!({ "artist": format!("a{}", n % 7), "song": format!("{n}"), "n": n }));
    }
    let dumped = database.run(&["dump", "music", "--out", "music.jsonl"]);
    assert_eq!((dumped.code, &*dumped.err), (Some(0), "61 items dumped\n"));
    let again = database.run(&["dump", "music", "--out", "music.jsonl"]).refused(2);
    assert!(again.contains("--out music.jsonl") && again.contains("--resume"), "{again}");

    let loaded = database.run(&["load", "copy", "music.jsonl"]);
    assert_eq!((loaded.code, &*loaded.err), (Some(0), "61 items loaded into copy\n"));
    let text = fs::read_to_string(database.dir().join("music.jsonl")).expect("read");
    assert_eq!(text.lines().count(), 63, "a header, the items, a last line");
    let copied = database.run(&["dump", "copy"]).ok();
    assert_eq!(
        sorted(&copied.replacen("\"table\":\"copy\"", "\"table\":\"music\"", 1)),
        sorted(&text)
    );
    assert!(!database.dir().join("music.jsonl.progress").exists());

    // From standard input, over what is there.
    database.run_with(&["load", "copy"], &text).ok();
    let count = database.run(&["scan", "copy", "--count"]).json();
    assert_eq!(count["count"], json!(61));

    let other = ["table", "create", "other", "--key", "artist:N", "--wait"];
    database.run(&other).ok();
    let refused = database.run(&["load", "other", "music.jsonl"]).refused(1);
    assert!(refused.contains("another primary key"), "{refused}");
    let cut = text.rsplit_once("{\"stator_dump_end").expect("a last line").0;
    let refused = database.run_with(&["load", "copy"], cut).refused(1);
    assert!(refused.contains("cut short"), "{refused}");
    let refused = database.run_with(&["load", "copy"], "{}\n").refused(1);
    assert!(refused.contains("no dump"), "{refused}");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_load_that_was_cut_short_goes_on() {
    let node = music();
    let database = &node.database;
    let file = database.dir().join("in.jsonl");
    let mut lines =
        vec![r#"{"stator_dump":1,"table":"t","key":{"name":"id","type":"N"},"sort":null,"partitions":1}"#.to_owned()];
    lines.extend((0..2500).map(|n| format!(r#"{{"id":{{"N":"{n}"}},"from":{{"S":"first"}}}}"#)));
    lines.push(r#"{"stator_dump_end":2500}"#.to_owned());
    let whole = lines.join("\n") + "\n";
    fs::write(&file, whole.replacen(r#"{"N":"2400"}"#, r#"{"X":"2400"}"#, 1)).expect("written");
    let refused = database.run(&["load", "loaded", "in.jsonl"]).refused(1);
    assert!(refused.contains("item 2401"), "{refused}");
    let progress = fs::read_to_string(database.dir().join("in.jsonl.progress")).expect("noted");
    let progress: Value = serde_json::from_str(&progress).expect("JSON");
    let loaded = progress["items"].as_u64().expect("a count");
    assert_eq!(loaded, 2400, "all that was written before it failed");
    assert!(refused.contains("--resume"), "{refused}");

    // What was loaded before is not loaded again.
    let mended = whole.replace("first", "again");
    fs::write(&file, &mended).expect("written");
    database.run(&["load", "loaded", "in.jsonl", "--resume"]).ok();
    let count = |from: &str| {
        let values = format!(r#"{{":f":"{from}"}}"#);
        let names = r##"{"#f":"from"}"##;
        let arguments = ["scan", "loaded", "--count", "--filter", "#f = :f", "--names", names];
        database.run(&[&arguments[..], &["--values", &values]].concat()).json()["count"].clone()
    };
    let first = count("first").as_u64().expect("a count");
    assert_eq!((first, count("again").as_u64()), (loaded, Some(100)));
    let again = database.run(&["load", "loaded", "in.jsonl", "--resume"]).refused(1);
    assert!(again.contains("nothing was begun"), "{again}");

    // One that fails before it has written anything is gone on with, too; one from standard input cannot be.
    let wrong = whole.replacen(r#"{"N":"3"}"#, r#"{"X":"3"}"#, 1);
    fs::write(&file, &wrong).expect("written");
    let refused = database.run(&["load", "early", "in.jsonl"]).refused(1);
    assert!(refused.contains("item 4") && refused.contains("--resume"), "{refused}");
    let refused = database.run_with(&["load", "early"], &wrong).refused(1);
    assert!(refused.contains("item 4") && !refused.contains("--resume"), "{refused}");
    fs::write(&file, &whole).expect("written");
    database.run(&["load", "early", "in.jsonl", "--resume"]).ok();
    assert_eq!(database.run(&["scan", "early", "--count"]).json()["count"], json!(2500));
}

#[test]
fn a_dump_that_was_cut_short_goes_on() {
    let node = music();
    let database = &node.database;
    for n in 0..20 {
        put(database, &json!({ "artist": format!("a{n}"), "song": "x" }));
    }
    database.run(&["dump", "music", "--out", "whole"]).ok();
    let whole = fs::read_to_string(database.dir().join("whole")).expect("read");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    // As a dump leaves it that was killed in the midst of its eighth item.
    let part: String = lines[..8].concat();
    fs::write(database.dir().join("part"), format!("{part}{}", &lines[8][..9])).expect("written");
    let last: Value = serde_json::from_str(lines[7]).expect("an item");
    let table = database.run(&["table", "describe", "music", "--output", "json"]).json();
    let progress = json!({
        "table_id": table["id"], "bytes": part.len(), "items": 7,
        "start_key": { "artist": last["artist"], "song": last["song"] },
    });
    fs::write(database.dir().join("part.progress"), progress.to_string()).expect("written");
    database.run(&["dump", "music", "--out", "part", "--resume"]).ok();
    assert_eq!(fs::read_to_string(database.dir().join("part")).expect("read"), whole);
}

#[test]
fn the_status_of_a_node_alone() {
    let node = music();
    let told = node.database.run(&["status", "--output", "json"]).json();
    assert_eq!(told["catalog_leader"], json!(1));
    assert_eq!(told["nodes"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["nodes"][0]["liveness"], json!("alive"));
    assert_eq!(told["nodes"][0]["partitions_led"], json!(5), "the table's and the catalog");
    let partitions = told["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 5);
    let replica = json!([{ "node": 1, "behind": 0, "lacking": false }]);
    assert!(partitions.iter().all(|told| told["leader"] == 1 && told["replicas"] == replica));
    let text = node.database.run(&["status"]).ok();
    assert!(text.contains("5 partitions, all led"), "{text}");
    assert!(text.contains("alive") && text.starts_with("cluster "), "{text}");
}

#[test]
fn exit_codes_tell_what_to_do() {
    let nobody = Database::at("http://127.0.0.1:1");
    let refused = nobody.run(&["table", "list"]).refused(3);
    assert!(
        refused.contains("http://127.0.0.1:1") && refused.contains("stator serve"),
        "{refused}"
    );
    nobody.run(&["item", "put", "music", "--item", "{}"]).refused(3);
    nobody.run(&["status"]).refused(3);
    assert_eq!(nobody.run(&["query"]).code, Some(2));
    assert_eq!(nobody.run(&["nonsense"]).code, Some(2));
    let refused = nobody.run(&["item", "put", "music", "--item", "{"]).refused(2);
    assert!(refused.contains("--item") && refused.contains("JSON"), "{refused}");
    let refused = nobody.run(&["item", "put", "music", "--item", "@nowhere"]).refused(2);
    assert!(refused.contains("@nowhere"), "{refused}");
    let refused = nobody.run(&["table", "create", "music", "--key", "artist:X"]).refused(2);
    assert!(refused.contains("artist:X") && refused.contains("S, N or B"), "{refused}");
    let refused = nobody.run(&["status", "--endpoints", "127.0.0.1"]).refused(2);
    assert!(refused.contains("HOST:PORT"), "{refused}");
    let refused = nobody.run(&["status", "--endpoints", "ftp://x"]).refused(2);
    assert!(refused.contains("ftp://x"), "{refused}");
    let dir = directory();
    let mut misspelt = program(dir.path());
    misspelt.args(["table", "list"]).env("STATOR_ENDPOINT", "http://127.0.0.1:1");
    let refused = finish(misspelt, "").refused(2);
    assert!(refused.contains("perhaps STATOR_ENDPOINTS"), "{refused}");
    assert!(nobody.run(&["--help"]).ok().contains("cluster"));
    let version = nobody.run(&["--version"]).ok();
    assert_eq!(version, format!("stator {}\n", env!("VERSION_AND_COMMIT")));
    // Where git knows a commit, it is one of this repository's.
    if let Some((_, commit)) = version.trim_end().trim_end_matches(')').split_once('(') {
        let mut git = std::process::Command::new("git");
        git.args(["-C", env!("CARGO_MANIFEST_DIR"), "cat-file", "-e", commit]);
        assert!(git.status().expect("git").success(), "{version}");
    }
    for (shell, word) in [
        ("bash", "_stator()"),
        ("zsh", "#compdef stator"),
        ("fish", "complete -c stator"),
        ("elvish", "edit:completion:arg-completer[stator]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        assert!(nobody.run(&["completions", shell]).ok().contains(word), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_is_told_in_one_line_with_what_is_allowed() {
    let nobody = Database::at("http://127.0.0.1:1");
    for (line, parts) in [
        ("cluster --nodes x", &["'x' for '--nodes <COUNT>'", "a whole number from 1 to 15"][..]),
        ("cluster --nodes 16", &["--nodes", "from 1 to 15"]),
        ("cluster --base-port x", &["--base-port", "from 0 to 65535"]),
        ("cluster --base-port 65536", &["--base-port", "from 0 to 65535"]),
        ("cluster --engine memory", &["--engine", "fjall or sled"]),
        ("cluster --temp --dir x", &["--temp", "--dir"]),
        ("cluster --node 3", &["'--node' found; ", "'--nodes'"]),
        ("serve --insecure=maybe", &["--insecure", "must be true or false"]),
        ("serve --insecure maybe", &["'maybe'"]),
        ("serve --memory 1GiB --memory 2GiB", &["--memory", "multiple times"]),
        ("bench --clients x", &["--clients", "from 1 to 10000"]),
        ("bench --callers-per-channel 0", &["--callers-per-channel", "from 1 to 4294967295"]),
        ("bench --rate fast", &["--rate", "from 0.001 to 100000000"]),
        ("bench --pids 1,x", &["--pids", "from 1 to"]),
        ("bench --workload z", &["--workload", "[possible values: put, ", "a, b, c, d, e, f]"]),
        ("table create", &["not provided", "--key <NAME:TYPE>", "<TABLE>"]),
        ("table create t --key a:S --partitions 1025", &["--partitions", "from 1 to 1024"]),
        ("table list --timeout 0", &["--timeout", "from 1 to 3600"]),
        ("table burn", &["'burn'"]),
        ("scan t --limit 0", &["--limit", "from 1 to 4294967295"]),
        ("scan t --segment 1 --segments 1000001", &["--segments", "from 1 to 1000000"]),
        ("scan t --segment 1", &["--segments <COUNT>"]),
    ] {
        let told = nobody.run(&line.split(' ').collect::<Vec<_>>()).refused(2);
        assert!(parts.iter().all(|part| told.contains(part)), "{line}: {told}");
        assert_eq!(told.lines().count(), 1, "{line}: {told}");
    }
    // Who names no command is shown which there are.
    assert!(nobody.run(&["table"]).err.contains("describe"));
}

/// Takes connections, reads, and never answers.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let connections: Vec<_> = listener.incoming().collect();
        drop(connections);
    });
    address
}

#[test]
fn a_write_in_doubt_has_a_code_of_its_own() {
    let database = Database::at(silent());
    let put = ["item", "put", "music", "--item", "{}", "--timeout", "1"];
    let told = database.run(&put).refused(4);
    assert!(told.contains("UncertainException") && told.contains("read the item"), "{told}");
    let create = ["table", "create", "music", "--key", "artist:S", "--timeout", "1"];
    let told = database.run(&create).refused(4);
    assert!(told.contains("stator table describe music"), "{told}");
    assert!(!told.contains("read the item"), "{told}");
    assert!(database.run(&["--help"]).ok().contains("4 a write may have been applied"));
}

#[test]
fn hints_name_what_would_help() {
    let node = music();
    let database = &node.database;
    let key = r#"{"artist":"a","song":"x"}"#;
    let get = ["item", "get", "music", "--key", key, "--projection", "song, Region"];
    let told = database.run(&get).refused(1);
    assert!(told.contains("#Region in") && told.contains(r##"'{"#Region": "Region"}'"##), "{told}");

    // The other dialect of JSON.
    let typed = r#"{"artist":{"S":"a"},"song":{"S":"x"}}"#;
    let told = database.run(&["item", "put", "music", "--item", typed]).refused(1);
    assert!(told.contains("--item") && told.contains("--ddb-json"), "{told}");
    let told = database.run(&["item", "get", "music", "--ddb-json", "--key", key]).refused(2);
    assert!(told.contains("--key") && told.contains("without --ddb-json"), "{told}");
    let told = database.run(&["item", "put", "music", "--item", key]);
    assert!(told.err.is_empty(), "{told:?}");

    for (text, key) in [
        (r#"{"artist":"a","song":"x","song":"y"}"#, "song"),
        (r#"{"artist":"a","song":"x","m":[{"n":1,"n":1}]}"#, "n"),
    ] {
        let told = database.run(&["item", "put", "music", "--item", text]).refused(2);
        assert!(told.contains("twice") && told.contains(&format!("{key:?}")), "{told}");
    }
    let names = [&get[..], &["--names", r##"{"#r":"a","#r":"b"}"##]].concat();
    assert!(database.run(&names).refused(2).contains("twice"));

    // What only an update can return.
    let put = ["item", "put", "music", "--item", key, "--return", "all-new"];
    let told = database.run(&put).refused(2);
    assert!(told.contains("all-old") && !told.contains("updated"), "{told}");
}

#[test]
fn an_admin_port_is_told_from_a_database() {
    let dir = directory();
    let mut command = serve(dir.path(), "data");
    command.args(["--admin-listen", "127.0.0.1:0"]);
    let node = Running::start(command);
    let admin = node.ready["admin"].as_str().expect("an admin port");
    for arguments in [&["status"][..], &["table", "list"]] {
        let told = Database::at(admin).run(arguments).refused(1);
        assert!(told.contains("admin port"), "{told}");
    }
}

#[test]
fn endpoints_come_from_the_flag_or_the_cluster_in_the_directory() {
    let node = Node::start();
    let endpoint = node.process.ready["endpoint"].as_str().expect("an endpoint");
    let dir = directory();
    let list = |arguments: &[&str]| {
        let mut command = program(dir.path());
        command.args(["table", "list"]).args(arguments);
        finish(command, "")
    };
    // Without the scheme; the first of two is nobody.
    let bare = endpoint.trim_start_matches("http://");
    list(&["--endpoints", &format!("127.0.0.1:1,{bare}")]).ok();
    let record = json!({
        "format": 1, "engine": "fjall", "base_port": 1, "endpoints": [endpoint], "admin": ["x"], "pids": [null],
        "supervisor": null,
    });
    fs::create_dir(dir.path().join("stator-data")).expect("made");
    fs::write(dir.path().join("stator-data/cluster.json"), record.to_string()).expect("written");
    list(&[]).ok();
}

#[test]
fn a_node_refuses_what_it_cannot_do_and_says_why() {
    let dir = directory();
    let refused = |arguments: &[&str], code: i32| {
        let mut command = program(dir.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]).args(arguments);
        finish(command, "").refused(code)
    };
    // Wrong settings: one line that names setting, value and what is allowed.
    for (arguments, parts) in [
        (&["--memory", "1KiB"][..], &["memory", "1KiB", "128MiB"][..]),
        (&["--memory", "much"], &["--memory", "much", "512MiB"]),
        (&["--engine", "rocks"], &["--engine", "rocks", "fjall"]),
        (&["--log-filter", "=="], &["log_filter", "=="]),
    ] {
        let told = refused(arguments, 2);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was touched");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = program(dir.path());
    command.args(["serve", "--data-dir", "data", "--admin-listen", "off", "--listen", &address]);
    let told = finish(command, "").refused(1);
    assert!(told.contains("listen") && told.contains(&address), "{told}");
    assert!(!dir.path().join("data").exists(), "nothing was touched");

    fs::create_dir(dir.path().join("data")).expect("made");
    fs::write(dir.path().join("data/letter.txt"), "mine").expect("written");
    let told = refused(&[], 1);
    assert!(told.contains("not made by Stator") && told.contains("letter.txt"), "{told}");
    fs::remove_dir_all(dir.path().join("data")).expect("removed");

    let node = Running::start(serve(dir.path(), "data"));
    let told = refused(&[], 1);
    assert!(told.contains("in use by process"), "{told}");
    assert_eq!(node.terminate().0, Some(0));
    let told = refused(&["--engine", "sled"], 1);
    assert!(told.contains("--engine fjall") && told.contains("--engine sled"), "{told}");
}

#[test]
fn a_node_ends_with_its_supervisor_and_in_good_order() {
    let mut node = Node::start();
    let pid = node.process.pid();
    assert!(runs(pid));
    drop(node.process.pipe.take());
    let (code, said) = node.process.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!runs(pid));
}

#[test]
fn a_node_logs_json_where_programs_read_it() {
    // By a flag, and by a variable.
    for by_flag in [true, false] {
        let dir = directory();
        let mut command = serve(dir.path(), "data");
        command.args(["--slow-request", "1ms"]);
        if by_flag {
            command.args(["--log-format", "json"]);
        } else {
            command.env("STATOR_LOG_FORMAT", "json");
        }
        let node = Running::start(command);
        let database = Database::at(node.ready["endpoint"].as_str().expect("an endpoint"));
        database.run(&["table", "create", "music", "--key", "artist:S", "--wait"]).ok();
        // Large enough that one of them takes a millisecond, wherever this runs.
        let item = json!({ "artist": "a", "notes": "x".repeat(390_000) }).to_string();
        for _ in 0..20 {
            database.run_with(&["item", "put", "music", "--item", "-"], &item).ok();
        }
        let (code, said) = node.terminate();
        assert_eq!(code, Some(0), "{said}");
        let line = |line| -> Value { serde_json::from_str(line).expect("a line of JSON") };
        let lines: Vec<Value> = said.lines().map(line).collect();
        assert!(
            lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string())
        );
        let slow = lines.iter().find(|line| line["operation"] == "PutItem");
        let slow = slow.unwrap_or_else(|| panic!("{said}"));
        assert_eq!((&slow["message"], &slow["table"]), (&json!("slow request"), &json!("music")));
        assert!(slow["request_id"].is_string() && slow["took_ms"].is_number(), "{slow}");
        assert!(
            lines.iter().any(|line| line["message"] == "stopping: asked to by SIGTERM"),
            "{said}"
        );
    }
}
