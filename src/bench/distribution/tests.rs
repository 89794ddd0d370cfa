use super::*;

const DRAWS: usize = 200_000;

/// How often each of `records` comes, as a share.
fn shares(distribution: Distribution, records: u64) -> Vec<f64> {
    let mut chooser = Chooser::new(distribution, records);
    let mut rng = Rng::new(7, 0);
    let mut counts = vec![0u32; records as usize];
    for _ in 0..DRAWS {
        counts[chooser.next(&mut rng, records) as usize] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / DRAWS as f64).collect()
}

fn near(found: f64, wanted: f64, relative: f64) -> bool {
    (found - wanted).abs() <= wanted * relative
}

#[test]
fn uniform_asks_for_all_alike() {
    let shares = shares(Distribution::Uniform, 100);
    assert!(shares.iter().all(|share| near(*share, 0.01, 0.15)), "{shares:?}");
}

#[test]
fn the_newest_is_the_most_popular_and_shares_fall_as_zipf_says() {
    let records = 1000;
    let shares = shares(Distribution::Latest, records);
    let zeta: f64 = (1..=records).map(|i| (i as f64).powf(-0.99)).sum();
    // The method is exact for the first two ranks, and close for the others.
    for (rank, tolerance) in [(0, 0.03), (1, 0.05), (9, 0.3), (99, 0.5)] {
        let wanted = ((rank + 1) as f64).powf(-0.99) / zeta;
        let found = shares[records as usize - 1 - rank];
        assert!(near(found, wanted, tolerance), "rank {rank}: {found} for {wanted}");
    }
    let oldest: f64 = shares[..500].iter().sum();
    assert!(oldest < 0.12, "the older half has {oldest}");
}

#[test]
fn zipfian_scatters_what_is_popular() {
    let records = 100_000;
    let shares = shares(Distribution::Zipfian, records);
    let mut popular: Vec<usize> = (0..shares.len()).collect();
    popular.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    assert!(near(shares[popular[0]], 1.0 / SCATTERED_ZETA, 0.05), "{}", shares[popular[0]]);
    let head: f64 = popular[..100].iter().map(|record| shares[*record]).sum();
    assert!((0.17..0.23).contains(&head), "the first hundred have {head}");
    assert!(popular[..10].windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1), "{popular:?}");
}

#[test]
fn a_zipf_that_grows_is_the_one_that_was_made_so() {
    let mut grown = Zipf::new(10);
    grown.grow(500);
    grown.grow(400);
    let made = Zipf::new(500);
    assert_eq!(grown.items, 500);
    assert!((grown.zeta - made.zeta).abs() < 1e-9 && (grown.eta - made.eta).abs() < 1e-9);
}

#[test]
fn few_records_are_enough() {
    for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
        for records in 1..4 {
            let mut chooser = Chooser::new(distribution, records);
            let mut rng = Rng::new(1, records);
            let mut seen = vec![false; records as usize];
            for _ in 0..1000 {
                seen[chooser.next(&mut rng, records) as usize] = true;
            }
            assert!(seen.iter().all(|seen| *seen), "{distribution:?} of {records}: {seen:?}");
        }
    }
}
