//! The conformance suite: every store must pass it.
//!
//! **Not a stable part of the API:** cases are added as new faults of stores are found.
//!
//! Each case is a function over an empty store. Its name states one fact of the contract; it panics if the store
//! violates that fact. [`store_conformance!`](crate::store_conformance) generates a test for each case:
//!
//! ```text
//! metrics_core::store_conformance!(empty_store());
//!
//! /// An empty store, and a guard that must outlive it.
//! async fn empty_store() -> (MyStore, TempDir) {
//!     // ..
//! }
//! ```

#![expect(clippy::missing_panics_doc, reason = "a case panics if the store does not conform")]

mod closed;
mod closing;
mod deleted;
mod draft;
mod export;
mod finals;
mod imports;
mod intercepted;
mod keys;
mod listings;
mod older;
mod oracle;
mod reports;
mod rewrites;
mod selections;
mod sessions;
mod snapshots;
mod unused;
mod videos;
mod watching;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

pub use closed::*;
pub use closing::Closing;
pub use deleted::*;
pub use export::*;
pub use finals::*;
pub use imports::*;
pub use intercepted::{Call, Intercept, Intercepted, Method};
pub use keys::*;
pub use listings::*;
pub use oracle::*;
pub use reports::*;
pub use rewrites::*;
pub use selections::*;
pub use sessions::*;
pub use snapshots::*;
pub use unused::*;
pub use videos::*;
pub use watching::*;

/// The number of repetitions of a randomized test: a quarter of `nightly`, or all of them if `METRICS_TEST_NIGHTLY` is 1.
///
/// Most faults fail on the first few random inputs, and the tests of every change should end soon.
#[must_use]
pub fn repetitions(nightly: usize) -> usize {
    let is_night = std::env::var("METRICS_TEST_NIGHTLY").is_ok_and(|value| value == "1");
    if is_night { nightly } else { nightly.div_ceil(4) }
}

/// Generates a test for each case of the suite. Each test opens its own stores with `$open`.
///
/// `$open` is a future of an empty store and of a guard that must outlive it. Not a stable part of the API.
#[macro_export]
macro_rules! store_conformance {
    ($open:expr) => {
        $crate::store_conformance! {
            $open =>
            an_empty_store_has_nothing,
            a_created_key_is_listed,
            a_key_that_exists_is_not_created_again,
            keys_are_listed_oldest_first,
            keys_that_differ_in_case_are_two,
            a_revoked_key_keeps_its_first_time,
            a_revoked_key_is_not_created_again,
            an_unknown_key_is_not_revoked,
            revoked_tokens_are_kept_until_they_expire,
            a_key_is_added_with_its_settings,
            settings_of_a_key_are_replaced,
            changes_of_a_key_at_once_are_all_made,
            a_restored_key_is_valid,
            an_unknown_key_is_not_changed,
            a_store_with_a_size_has_some_bytes,
            a_session_is_loaded_as_it_was_committed,
            a_session_that_has_nothing_is_loaded_as_it_was_committed,
            the_largest_session_is_loaded_as_it_was_committed,
            a_write_replaces_all_that_changes,
            the_subject_of_the_first_write_stays,
            sessions_are_loaded_in_the_requested_order,
            many_sessions_are_committed_and_loaded_at_once,
            a_version_goes_up_by_one_with_every_write,
            a_first_write_of_a_session_that_exists_conflicts,
            a_write_with_another_version_conflicts,
            a_write_of_a_session_that_is_not_there_conflicts,
            a_conflict_does_not_affect_the_rest_of_the_batch,
            a_repeated_batch_conflicts_and_changes_nothing,
            a_batch_with_a_key_that_is_not_there_stores_nothing,
            a_batch_that_was_refused_may_come_again,
            sessions_of_a_revoked_key_are_stored,
            writers_of_one_session_exclude_each_other,
            concurrent_first_plays_are_all_of_one_video,
            known_videos_are_those_of_sessions,
            many_videos_are_looked_up_at_once,
            every_identifier_is_selected,
            no_identifier_selects_nothing,
            more_identifiers_than_a_statement_takes_are_selected,
            identifiers_are_compared_byte_by_byte,
            an_identifier_is_selected_under_every_key,
            a_key_selects_its_own_videos,
            metadata_is_selected_by_containment,
            numbers_are_compared_by_value,
            the_order_of_metadata_keys_does_not_matter,
            identifier_and_metadata_each_distinguish_videos,
            session_data_is_selected_by_containment,
            where_viewers_come_from_is_a_dimension,
            every_part_of_a_selection_narrows_it,
            an_unknown_selection_is_empty,
            a_timeframe_includes_both_ends,
            a_timeframe_that_ends_before_it_begins_is_empty,
            the_minimum_view_time_is_included,
            plays_are_summed_with_their_classes,
            plays_are_summed_per_bucket,
            sources_are_counted_per_page_and_bucket,
            a_session_without_a_source_is_no_source,
            viewers_of_a_part_are_distinct_sessions,
            parts_end_with_the_furthest_session_that_counts,
            nothing_watched_has_no_parts,
            views_of_a_second_count_replays,
            seconds_are_apart_by_bucket,
            sessions_count_at_the_minutes_at_which_they_play,
            an_open_segment_is_watched,
            a_closed_segment_is_not_watched,
            a_dead_instance_leaves_the_count,
            an_instance_without_a_heartbeat_does_not_count,
            a_session_that_moves_is_watched_once,
            watching_is_counted_within_a_selection,
            sessions_of_a_dead_instance_can_go_on,
            viewers_are_read_with_their_videos_and_positions,
            an_empty_store_exports_nothing,
            every_session_is_on_one_page,
            a_record_has_the_written_values,
            pages_stay_apart_while_sessions_come_and_go,
            sessions_before_an_instant_are_deleted,
            many_sessions_are_deleted_at_once,
            a_deleted_session_is_gone_from_all_answers,
            a_deleted_session_may_come_again,
            deleting_again_changes_nothing,
            deleted_sessions_are_subtracted_from_totals,
            only_quiet_sessions_are_closed,
            quiet_sessions_are_listed_some_at_a_time,
            a_reopened_session_is_unchanged,
            a_closed_session_is_not_written,
            a_session_that_changes_is_counted_as_it_is,
            merged_blocks_hold_the_same_sessions,
            wrong_totals_are_corrected,
            a_final_session_stays_in_every_answer,
            only_closed_sessions_that_were_silent_are_final,
            a_viewer_of_a_final_session_begins_another,
            a_session_is_final_as_it_was_written_last,
            a_snapshot_shows_one_moment,
            sessions_that_move_are_in_every_snapshot_once,
            videos_are_added_once,
            videos_are_listed_in_pages,
            open_sessions_are_listed_in_pages,
            watched_sessions_are_listed,
            blocks_are_listed_in_pages,
            groups_are_those_requested,
            totals_are_those_of_keys_and_days,
            resumable_sessions_are_listed_in_pages,
            a_rewrite_makes_all_its_changes,
            a_rewrite_that_conflicts_changes_nothing,
            a_rewrite_opens_no_final_session,
            resume_states_are_added_once,
            rewrites_of_one_block_exclude_each_other,
            concurrent_upkeep_loses_and_doubles_nothing,
            a_write_and_a_close_exclude_each_other,
            a_watched_session_stays_open,
            imported_sessions_are_closed,
            sessions_that_are_there_are_not_added,
            sessions_known_by_their_content_are_added_once,
            sessions_that_differ_are_left_alone,
            an_import_with_a_key_that_is_not_there_adds_nothing,
            a_large_import_becomes_several_blocks,
            concurrent_imports_add_no_session_twice,
            an_import_finds_sessions_that_move,
            plays_are_those_of_brute_force,
            sources_are_those_of_brute_force,
            parts_are_those_of_brute_force,
            seconds_are_those_of_brute_force,
            erasures_are_those_of_brute_force,
            videos_without_sessions_are_deleted,
            a_video_that_comes_again_has_another_id,
            first_plays_of_videos_that_are_deleted_are_kept,
            imports_of_videos_that_are_deleted_are_kept,
            the_retention_clock_is_set_by_one_at_a_time,
            videos_are_listed_once,
            videos_are_searched,
            videos_are_filtered_sorted_and_paged,
            videos_without_sessions_stay_listed,
        }
    };
    ($open:expr => $($case:ident),+ $(,)?) => {
        $(
            // Stores may block in place, so the runtime must have more than one thread.
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _guard) = $open.await;
                $crate::conformance::$case(&store).await;
                // Again, with sessions that are closed soon after each commit.
                let (store, _guard) = $open.await;
                let store = $crate::conformance::Closing::over(store);
                $crate::conformance::$case(&store).await;
            }
        )+
    };
}

/// Waits for all futures concurrently.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
