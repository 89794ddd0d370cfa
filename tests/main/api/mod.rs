//! The database as its callers see it: the same stories over every way to it.
//!
//! A story is an async function that is given a [`Place`](places::Place): a database and a way to speak to it. It keeps to tables of
//! its own, so that stories of one place run side by side. Stories that do something to nodes have clusters of their own: `failover`.

mod batches;
mod errors;
mod failover;
mod items;
mod keys;
mod limits;
mod places;
mod queries;
mod races;
mod scans;
mod tables;
mod updates;

use places::Place;

/// Runs every story at every place, each as a test of its own.
macro_rules! stories {
    ($($module:ident: $($story:ident)*;)*) => {
        stories! { @place memory Memory $($module: $($story)*;)* }
        stories! { @place disk Disk $($module: $($story)*;)* }
        stories! { @place served Served $($module: $($story)*;)* }
        stories! { @place sled Sled $($module: $($story)*;)* }
        stories! { @place cluster Cluster $($module: $($story)*;)* }
        stories! { @place any_node AnyNode $($module: $($story)*;)* }
    };
    (@place $place:ident $kind:ident $($module:ident: $($story:ident)*;)*) => {
        mod $place {
            $(mod $module {
                use crate::api::{Place, places, $module};
                $(
                    #[test]
                    fn $story() {
                        places::run(async { $module::$story(Place::$kind).await });
                    }
                )*
            })*
        }
    };
}

stories! {
    tables:
        a_table_lives_from_creation_to_deletion
        tables_are_listed_in_pages
        a_protected_table_is_not_deleted
        a_table_made_again_is_empty
        what_tables_refuse
        one_of_many_creators_wins
        a_table_is_deleted_and_made_again_under_load;
    items:
        every_type_comes_back_as_it_was
        numbers_are_exact
        empty_values_are_kept
        what_puts_return
        what_deletes_return
        conditions_decide
        a_failed_condition_tells_the_item
        projections_cut_items
        reads_of_both_strengths;
    updates:
        nested_attributes_change
        what_updates_return
        sets_and_counters_add_and_delete
        what_updates_refuse;
    keys:
        keys_of_every_type_find_their_items
        equal_numbers_are_one_key
        what_keys_refuse;
    limits:
        items_up_to_their_limit
        keys_up_to_their_limit
        nesting_up_to_its_limit;
    queries:
        sort_keys_are_in_order_both_ways
        key_conditions_of_every_kind
        filters_projections_and_counts
        pages_by_limit_go_to_the_end
        pages_by_size_go_to_the_end
        what_queries_refuse;
    scans:
        a_scan_sees_every_item_once
        segments_cover_every_item_once
        scans_filter_and_count
        pages_of_a_scan_keep_to_their_size
        what_scans_refuse;
    batches:
        batches_write_and_read_across_tables
        batches_up_to_their_limits
        what_batches_refuse
        large_batches_leave_a_remainder
        a_batch_to_a_table_made_again_goes_to_the_new_one;
    races:
        one_of_many_conditional_puts_wins
        counters_count_every_addition
        optimistic_updates_lose_nothing;
    errors:
        no_time_is_a_deadline_and_nothing_done
        unknown_tables_are_told_apart;
}
