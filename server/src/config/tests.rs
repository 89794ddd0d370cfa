use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::value::{Value, show};
use super::{
    ByteSize, EngineKind, LogFormat, MemoryPlan, NodeConfig, PartialConfig, ReadMode,
    WRITE_BYTES_MAX, check_variables, load,
};

const NO_VARIABLES: [(String, String); 0] = [];

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// What a file's text is refused with.
fn refusal(text: &str) -> String {
    let built = PartialConfig::from_toml(text).and_then(PartialConfig::build);
    let line = built.expect_err(text).to_string();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    line
}

fn built(text: &str) -> NodeConfig {
    PartialConfig::from_toml(text).and_then(PartialConfig::build).expect(text)
}

#[test]
fn nothing_said_is_the_defaults() {
    assert_eq!(built(""), NodeConfig::default());
    assert_eq!(load(None, NO_VARIABLES, PartialConfig::default()).expect("valid"), built(""));
}

#[test]
fn a_file_sets_everything() {
    let config = built(
        r#"
        data_dir = "/var/lib/stator"
        listen = "0.0.0.0:7500"
        advertise = "db1.example:7500"
        admin_listen = "127.0.0.1:9000"
        initial_nodes = ["db1.example:7500", "db2.example:7500"]
        zone = "z1"
        region = "eu"
        engine = "sled"
        memory = "1GiB"
        log_budget = "256MiB"
        log_segment = 16777216
        min_free = "1 gib"
        snapshot_rate = "32MiB"
        reads = "read-index"
        insecure = true
        rebuild_engine = true
        log_format = "json"
        log_filter = "info,stator_server=debug"
        slow_request = "1s"
        request_timeout = "250ms"
        max_connections = 10
        max_in_flight_requests = 20
        table_partitions = 8
        query_threads = 2
        "#,
    );
    let expected = NodeConfig {
        data_dir: "/var/lib/stator".into(),
        listen: "0.0.0.0:7500".parse().expect("address"),
        advertise: Some("db1.example:7500".into()),
        admin_listen: Some("127.0.0.1:9000".parse().expect("address")),
        initial_nodes: vec!["db1.example:7500".into(), "db2.example:7500".into()],
        join: Vec::new(),
        zone: Some("z1".into()),
        region: "eu".into(),
        engine: EngineKind::Sled,
        memory: ByteSize::mib(1024),
        log_budget: ByteSize::mib(256),
        log_segment: ByteSize::mib(16),
        min_free: ByteSize::mib(1024),
        snapshot_rate: ByteSize::mib(32),
        reads: ReadMode::ReadIndex,
        insecure: true,
        rebuild_engine: true,
        log_format: LogFormat::Json,
        log_filter: "info,stator_server=debug".into(),
        slow_request: Duration::from_secs(1),
        request_timeout: Duration::from_millis(250),
        max_connections: 10,
        max_in_flight_requests: 20,
        table_partitions: 8,
        query_threads: 2,
        timing: stator_consensus::Config::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("stator.toml");
    fs::write(&file, "region = 'file'\nzone = 'file'\nquery_threads = 7").expect("written");
    let environment = variables(&[
        ("STATOR_REGION", "variable"),
        ("STATOR_ZONE", "variable"),
        ("STATOR_MAX_CONNECTIONS", "9"),
    ]);
    let flags = PartialConfig { region: Some("flag".into()), ..PartialConfig::default() };
    let config = load(Some(&file), environment, flags).expect("valid");
    assert_eq!(config.region, "flag");
    assert_eq!(config.zone.as_deref(), Some("variable"));
    assert_eq!((config.query_threads, config.max_connections), (7, 9));
    assert_eq!(config.table_partitions, NodeConfig::default().table_partitions);
}

#[test]
fn variables_of_platforms_and_other_commands_are_left_alone_and_wrong_ones_named() {
    let platform = variables(&[
        ("STATOR_PORT", "tcp://10.0.0.1:7400"),
        ("STATOR_PORT_7400_TCP_ADDR", "10.0.0.1"),
        ("STATOR_DB_SERVICE_HOST", "10.0.0.1"),
        ("STATOR_SERVICE_PORT_GRPC", "7400"),
        ("STATOR_CONFIG", "stator.toml"),
        ("STATOR_ENDPOINTS", "http://10.0.0.1:7400"),
        ("STATOR_MEMORY", ""),
        ("MEMORY", "1GiB"),
    ]);
    assert_eq!(PartialConfig::from_env(platform).expect("valid"), PartialConfig::default());
    let wrong = PartialConfig::from_env(variables(&[("STATOR_MEMORY", "lots")]));
    assert_eq!(
        wrong.expect_err("wrong").to_string(),
        "environment: STATOR_MEMORY = lots is not allowed: \
         it must be a whole number with a unit, B, KiB, MiB, GiB or TiB, as in 512MiB"
    );
}

#[test]
fn a_variable_that_sets_nothing_is_named_with_what_was_meant() {
    let refusal = |name: &str, text: &str| {
        let pairs = [("STATOR_ZONE", "a"), (name, text)];
        let wrong = PartialConfig::from_env(variables(&pairs)).expect_err(name);
        assert_eq!(check_variables(variables(&pairs)), Err(wrong.clone()));
        wrong.to_string()
    };
    let line = refusal("STATOR_MEMROY", "1GiB");
    let start = "environment: STATOR_MEMROY is not a setting (perhaps STATOR_MEMORY): the settings";
    assert!(line.starts_with(start), "{line}");
    assert!(refusal("STATOR_ENDPOINT", "x").contains("(perhaps STATOR_ENDPOINTS)"));
    assert!(refusal("STATOR_COLOUR", "x").contains("STATOR_COLOUR is not a setting: the"));
    // Not what a platform puts there.
    assert!(refusal("STATOR_PORT", "7400").contains("STATOR_PORT is not a setting"));
    assert!(refusal("STATOR_TLS_KEY", "a.pem").contains("encryption is not built yet"));
    // A command that talks to a database does not judge a node's values.
    let pairs = [("STATOR_MEMORY", "lots"), ("STATOR_CONFIG", "x"), ("STATOR_COLOUR", "")];
    assert_eq!(check_variables(variables(&pairs)), Ok(()));
}

#[test]
fn a_value_of_several_lines_is_refused_in_one() {
    let wrong = PartialConfig::from_env(variables(&[("STATOR_ENGINE", "sled\r\nfjall\n")]));
    let line = wrong.expect_err("wrong").to_string();
    assert!(line.starts_with("environment: STATOR_ENGINE = sled fjall is not allowed"), "{line}");
    assert_eq!(line.lines().count(), 1);
    refusal("engine = \"\"\"sled\nfjall\"\"\"");
    refusal("\"a\\nb\" = 1");
}

#[test]
fn lists_are_arrays_in_a_file_and_commas_elsewhere() {
    let joined = PartialConfig::from_env(variables(&[("STATOR_JOIN", "a:1, b:2,")]));
    assert_eq!(joined.expect("valid").join, Some(vec!["a:1".into(), "b:2".into()]));
    assert_eq!(built("join = ['a:1', 'b:2']").join, ["a:1", "b:2"]);
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    let line = refusal("memroy = '1GiB'");
    assert!(
        line.starts_with("memroy is not a setting (perhaps memory): the settings are"),
        "{line}"
    );
    assert!(refusal("request-timeout = '5s'").contains("(perhaps request_timeout)"));
    assert!(refusal("colour = 1").starts_with("colour is not a setting: "), "nothing near");
    assert!(refusal("[timing]\ntick = 1").starts_with("[timing] is not a setting: "), "R2");
    for (text, meant) in [
        (
            "[log]\nbugdet = '1GiB'",
            "[log] is not a setting (perhaps log_budget): there are no sections",
        ),
        ("[node]\nlisten = '127.0.0.1:1'", "[node] is not a setting (perhaps listen)"),
        ("[memroy]", "[memroy] is not a setting (perhaps memory)"),
    ] {
        assert!(refusal(text).starts_with(meant), "{}", refusal(text));
    }
}

#[test]
fn a_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("stator.toml");
    fs::write(&file, "# ours\nregion = 'a'\nzone = \n").expect("written");
    let flags = PartialConfig::default;
    let line = load(Some(&file), NO_VARIABLES, flags()).expect_err("wrong").to_string();
    assert!(line.starts_with(&format!("{}: line 3 is not TOML: ", file.display())), "{line}");
    assert_eq!(line.lines().count(), 1);
    fs::write(&file, "zone = 1979-05-27").expect("written");
    let line = load(Some(&file), NO_VARIABLES, flags()).expect_err("wrong").to_string();
    assert!(line.starts_with(&format!("{}: zone = 1979-05-27 is not", file.display())), "{line}");
    let absent = dir.path().join("absent.toml");
    let line = load(Some(&absent), NO_VARIABLES, flags()).expect_err("absent").to_string();
    assert!(line.starts_with(&format!("config = {} cannot be read", absent.display())), "{line}");
}

#[test]
fn the_admin_port_is_the_next_one_unless_told() {
    let admin = |text: &str| built(text).admin_listen.map(|address| address.to_string());
    assert_eq!(admin("listen = '127.0.0.1:8000'").as_deref(), Some("127.0.0.1:8001"));
    assert_eq!(admin("listen = '127.0.0.1:0'").as_deref(), Some("127.0.0.1:0"));
    assert_eq!(admin("admin_listen = 'off'"), None);
    assert!(refusal("listen = '127.0.0.1:65535'").starts_with("listen = 127.0.0.1:65535 is"));
    assert!(built("listen = '127.0.0.1:65535'\nadmin_listen = 'off'").admin_listen.is_none());
}

#[test]
fn binding_beyond_loopback_needs_insecure() {
    for address in ["0.0.0.0:7400", "10.0.0.1:7400", "[::]:7400", "[::ffff:10.0.0.1]:7400"] {
        let line = refusal(&format!("listen = '{address}'\nadvertise = 'a:1'"));
        assert!(line.starts_with(&format!("listen = {address} is not allowed")), "{line}");
        assert!(line.contains("--insecure"), "{line}");
        built(&format!("listen = '{address}'\nadvertise = 'a:1'\ninsecure = true"));
    }
    for address in ["127.0.0.1:7400", "127.8.8.8:7400", "[::1]:7400", "[::ffff:127.0.0.1]:7400"] {
        built(&format!("listen = '{address}'"));
    }
    assert!(refusal("admin_listen = '10.0.0.1:80'").starts_with("admin_listen = 10.0.0.1:80 is"));
}

#[test]
fn encryption_is_refused_and_promised_nowhere() {
    for text in ["[tls]", "[tls]\ncertificate = 'a.pem'", "tls = true", "tls_key = 'b.pem'"] {
        assert!(refusal(text).contains("is not allowed: encryption is not built yet"), "{text}");
    }
    assert!(!refusal("colour = 1").contains("tls"));
}

#[test]
fn every_wrong_value_is_named_with_what_is_allowed() {
    for (text, start, allowed) in [
        ("listen = 'localhost:7400'", "listen = \"localhost:7400\"", "an IP address and a port"),
        ("listen = 7400", "listen = 7400", "an IP address and a port"),
        ("admin_listen = 'no'", "admin_listen = \"no\"", "or off"),
        (
            "admin_listen = '127.0.0.1:7400'",
            "admin_listen = 127.0.0.1:7400",
            "listen has that address",
        ),
        ("listen = '0.0.0.0:1'\ninsecure = true", "listen = 0.0.0.0:1", "give advertise as well"),
        ("advertise = 'here'", "advertise = here", "a host's name or IP address and a port"),
        ("advertise = 'a b:1'", "advertise = a b:1", "and a port"),
        ("advertise = '10.0.0:1'", "advertise = 10.0.0:1", "and a port"),
        ("advertise = '0.0.0.0:1'", "advertise = 0.0.0.0:1", "and a port"),
        ("advertise = 'a:0'", "advertise = a:0", "and a port"),
        ("advertise = \"a\\n:1\"", "advertise = a\\n:1", "and a port"),
        ("join = ['a']", "join = a", "and a port"),
        ("join = ['a:1', 'a:1']", "join = a:1,a:1", "names a node twice"),
        ("initial_nodes = ['a:1']", "initial_nodes = a:1", "advertises itself, 127.0.0.1:7400"),
        (
            "initial_nodes = ['127.0.0.1:7400']\njoin = ['a:1']",
            "join = a:1",
            "give initial_nodes or join",
        ),
        ("region = ''", "region = ", "1 to 64 letters"),
        ("zone = 'a b'", "zone = a b", "1 to 64 letters"),
        ("engine = 'rocksdb'", "engine = \"rocksdb\"", "fjall or sled"),
        ("engine = 'memory'", "engine = memory", "fjall or sled"),
        ("memory = '127MiB'", "memory = 127MiB", "at least 128MiB"),
        ("log_segment = '4KiB'", "log_segment = 4KiB", "from 8MiB to 1GiB"),
        ("log_segment = '10000001B'", "log_segment = 10000001B", "a multiple of 4KiB"),
        ("log_budget = '255MiB'", "log_budget = 255MiB", "four times log_segment, 256MiB"),
        ("min_free = 0", "min_free = 0B", "at least 1MiB"),
        ("snapshot_rate = 0", "snapshot_rate = 0B", "at least 1MiB"),
        ("reads = 'quorum'", "reads = \"quorum\"", "lease or read-index"),
        ("insecure = 'yes'", "insecure = \"yes\"", "true or false"),
        ("log_format = 'xml'", "log_format = \"xml\"", "text or json"),
        ("log_filter = ' '", "log_filter = ", "error, warn, info, debug or trace"),
        ("slow_request = '11m'", "slow_request = 11m", "from 0ms to 10m"),
        ("request_timeout = '9ms'", "request_timeout = 9ms", "from 10ms to 10m"),
        ("request_timeout = 5", "request_timeout = 5", "a unit, ms, s or m"),
        ("max_connections = 0", "max_connections = 0", "from 1 to 65536"),
        ("max_in_flight_requests = -1", "max_in_flight_requests = -1", "a whole number"),
        ("table_partitions = 1025", "table_partitions = 1025", "from 1 to 1024"),
        ("query_threads = 2.5", "query_threads = 2.5", "a whole number"),
    ] {
        let line = refusal(text);
        assert!(line.starts_with(&format!("{start} is not allowed: ")), "{text}: {line}");
        assert!(line.contains(allowed), "{text}: {line}");
    }
}

#[test]
fn too_many_nodes_are_not_repeated_to_the_reader() {
    let nodes: Vec<String> = (1..=65).map(|n| format!("'a:{n}'")).collect();
    let line = refusal(&format!("join = [{}]", nodes.join(",")));
    assert_eq!(line, "join = 65 nodes is not allowed: it has at most 64 nodes");
}

#[test]
fn injected_times_are_checked_and_reads_decide_on_leases() {
    let mut config = NodeConfig::default();
    assert!(config.consensus().leases);
    config.reads = ReadMode::ReadIndex;
    assert!(!config.consensus().leases);
    config.timing.election_ticks = 21;
    let line = config.validate().expect_err("too long").to_string();
    assert!(line.starts_with("election_ticks = 21"), "{line}");
}

#[test]
fn a_node_is_known_by_where_it_listens_unless_told() {
    let listening = "127.0.0.1:50123".parse().expect("address");
    assert_eq!(built("listen = '127.0.0.1:0'").advertised(listening), "127.0.0.1:50123");
    assert_eq!(built("advertise = 'db:1'").advertised(listening), "db:1");
}

#[test]
fn half_a_gigabyte_is_shared_out() {
    let plan = NodeConfig::default().memory_plan();
    let mib = |bytes: u64| bytes >> 20;
    assert_eq!((mib(plan.engine_cache), mib(plan.engine_buffers)), (192, 96));
    assert_eq!(
        (mib(plan.log_buffers), mib(plan.queues), mib(plan.in_flight_requests)),
        (32, 64, 64)
    );
    let small = MemoryPlan::new(512 << 20, 16 << 10);
    assert_eq!(small.log_buffers, 8 << 10, "half a segment");
    assert_eq!(small.counted(), plan.counted(), "the cache takes what the log cannot use");
}

#[test]
fn groups_and_queues_keep_to_their_part() {
    let most = stator_consensus::Config::default();
    for (memory, in_flight, cache, to_peers) in
        [(128, 6, 12, 4), (512, 24, 48, 16), (8192, 24, 256, 256)]
    {
        let config = NodeConfig { memory: ByteSize::mib(memory), ..NodeConfig::default() };
        let (plan, groups) = (config.memory_plan(), config.consensus());
        groups.validate().expect("sound");
        assert_eq!(groups.host_in_flight_bytes_max >> 20, in_flight);
        assert_eq!(groups.host_cache_bytes_max >> 20, cache);
        assert_eq!(plan.peer_queues() >> 20, to_peers);
        let entries = groups.host_in_flight_bytes_max + groups.host_apply_backlog_bytes_max;
        let entries = entries.max(groups.host_cache_bytes_max) + plan.peer_queues();
        assert!(entries as u64 <= plan.queues, "{entries} of {}", plan.queues);
        assert!(groups.apply_backlog_bytes_max <= most.apply_backlog_bytes_max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn memory_is_never_given_out_twice(
        total in MemoryPlan::TOTAL_MIN..1 << 45,
        segment in (16_u64 << 10)..=1 << 30,
    ) {
        let plan = MemoryPlan::new(total, segment);
        prop_assert!(plan.counted() <= total / 8 * 7);
        prop_assert!(plan.counted() >= total / 16 * 13);
        prop_assert!(plan.in_flight_requests >= 16 << 20, "the largest batch fits");
    }

    #[test]
    fn sizes_and_times_are_read_as_they_are_shown(number in any::<u64>(), shift in 0_u32..64) {
        let size = ByteSize::new(number >> shift);
        prop_assert_eq!(ByteSize::parse(&size.to_string()), Ok(size));
        let time = Duration::from_millis(number >> shift);
        prop_assert_eq!(Duration::parse(&show(time)), Ok(time));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in ".{0,24}") {
        let _ = ByteSize::parse(&text);
        let _ = Duration::parse(&text);
        if let Err(error) = PartialConfig::from_toml(&text) {
            prop_assert!(error.to_string().lines().count() == 1, "{}", error);
        }
        if let Err(error) = PartialConfig::from_toml(&format!("advertise = '{text}'")) {
            prop_assert!(error.to_string().lines().count() == 1, "{}", error);
        }
    }
}

#[test]
fn sizes_have_whole_numbers_and_units() {
    for (text, bytes) in [
        ("0", 0),
        ("17", 17),
        ("4096B", 4096),
        ("3 KiB", 3072),
        ("2gib", 2 << 30),
        ("1TiB", 1 << 40),
    ] {
        assert_eq!(ByteSize::parse(text), Ok(ByteSize::new(bytes)), "{text}");
    }
    for text in [
        "",
        "MiB",
        "1.5GiB",
        "-1",
        "+1",
        "1 MB",
        "1  MiB",
        "18446744073709551616",
        "17000000TiB",
        "ä",
    ] {
        assert!(ByteSize::parse(text).is_err(), "{text}");
    }
    assert_eq!(Duration::parse("2m"), Ok(Duration::from_secs(120)));
    assert_eq!(Duration::parse("0"), Ok(Duration::ZERO));
    for text in ["5", "s", "1h", "1.5s", "99999999999999999999ms"] {
        assert!(Duration::parse(text).is_err(), "{text}");
    }
}

#[cfg(feature = "cli")]
mod flags {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::super::{NodeConfig, ServeArgs, one_line};
    use super::variables;

    #[derive(Debug, Parser)]
    #[command(name = "stator")]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(line: &str) -> Result<ServeArgs, clap::Error> {
        let words = line.split_whitespace();
        Cli::try_parse_from(["stator"].into_iter().chain(words)).map(|cli| cli.serve)
    }

    #[test]
    fn flags_are_read_by_the_same_parsers() {
        let args = parse(
            "--memory 1GiB --listen 0.0.0.0:1 --advertise a:1 --insecure --admin-listen off --join b:1,c:1",
        );
        let config = args.expect("parsed").load([]).expect("valid");
        assert_eq!(config.memory.to_string(), "1GiB");
        assert_eq!((config.listen.port(), config.insecure, config.admin_listen), (1, true, None));
        assert_eq!(config.join, ["b:1", "c:1"]);
        let args = parse("--insecure=false --slow-request 1s").expect("parsed");
        assert!(!args.load([]).expect("valid").insecure);
        assert_eq!(parse("").expect("parsed").load([]).expect("valid"), NodeConfig::default());
    }

    #[test]
    fn a_wrong_flag_is_told_in_one_line() {
        let line = one_line(&parse("--memory lots").expect_err("wrong"));
        assert!(
            line.contains("'lots' for '--memory <SIZE>': it must be a whole number with a unit"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
        assert!(one_line(&parse("--memroy 1GiB").expect_err("unknown")).contains("'--memroy'"));
    }

    #[test]
    fn the_file_may_be_named_by_a_variable() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("stator.toml");
        std::fs::write(&file, "region = 'filed'").expect("written");
        let variables = variables(&[("STATOR_CONFIG", &file.display().to_string())]);
        let config = parse("").expect("parsed").load(variables).expect("valid");
        assert_eq!(config.region, "filed");
    }

    /// The manual's defaults are words; these are the values they have to agree with.
    #[test]
    fn the_manual_tells_the_defaults() {
        let help = Cli::command().render_long_help().to_string();
        let mut matches = 0;
        for option in Cli::command().get_arguments() {
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            let Some((_, rest)) = help.split_once("[default: ") else { continue };
            let word = rest.trim_end_matches(']');
            if word.contains(' ') {
                continue;
            }
            let name = option.get_long().expect("long");
            let args = parse(&format!("--{name}={word}")).expect(name);
            assert_eq!(args.load([]).expect(name), NodeConfig::default(), "--{name} {word}");
            matches += 1;
        }
        assert_eq!(matches, 20, "{help}");
        Cli::command().debug_assert();
        assert!(Cli::from_arg_matches(&Cli::command().get_matches_from(["stator"])).is_ok());
    }
}

#[test]
fn the_largest_item_fits_into_an_entry_of_the_smallest_log() {
    use stator_model::{AttributeValue, EncodedItem, Item, limits};
    // Two bytes of the limit for an empty text in a list are one as DynamoDB counts and four as they are stored.
    let texts = vec![AttributeValue::from(""); limits::ITEM_BYTES_MAX - 8];
    let item = Item::from([("a".to_owned(), AttributeValue::L(texts))]);
    let item = EncodedItem::encode(&item);
    let size = item.check().expect("an item").size;
    assert!((limits::ITEM_BYTES_MAX - 8..=limits::ITEM_BYTES_MAX).contains(&size), "{size}");
    assert!(item.as_bytes().len() > 3 * size && item.as_bytes().len() < WRITE_BYTES_MAX);

    let smallest = NodeConfig { log_segment: ByteSize::mib(8), ..NodeConfig::default() };
    smallest.validate().expect("allowed");
    let record = smallest.log_segment.bytes() as usize / 4 - (16 << 10);
    assert!(smallest.entry_bytes_max() >= 256 << 10);
    assert!(smallest.entry_bytes_max() + item.as_bytes().len() <= record);
    assert_eq!(NodeConfig::default().entry_bytes_max(), 1 << 20);
}

#[test]
fn the_founders_go_with_every_call_and_are_a_short_list() {
    let node = |n: usize, bytes: usize| format!("{:0>bytes$}:1", format!("n{n}"));
    let list = |count: usize, bytes: usize| {
        let mut nodes: Vec<String> = (1..count).map(|n| node(n, bytes)).collect();
        nodes.push("127.0.0.1:7400".to_owned());
        let bytes = nodes.join(",").len();
        (bytes, NodeConfig { initial_nodes: nodes, ..NodeConfig::default() }.validate())
    };
    let (bytes, checked) = list(64, 61);
    assert!(bytes <= 4096 && checked.is_ok(), "{bytes}: {checked:?}");
    let (bytes, checked) = list(64, 62);
    assert!(bytes > 4096, "{bytes}");
    let why = checked.expect_err("too long").to_string();
    assert!(why.contains("initial_nodes") && why.contains("4096 bytes"), "{why}");
}
