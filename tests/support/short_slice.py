"""The acceptance tests that `make test` runs, by file; `make test-all` runs all."""

SHORT_SLICE = {
    "test_run.py": {
        "test_a_study_that_ended_badly_with_trials_says_how_to_start_over",
        "test_a_plan_shows_blocks_with_their_parameters_and_which_batches_fit",
    },
    "test_service.py": {"test_a_study_is_created_once_listed_and_shown"},
    "test_usage.py": {
        "test_help_lists_every_command_and_imports_nothing_heavy",
        "test_a_bad_spec_is_refused_with_every_path_before_anything_starts",
        "test_wrong_usage_exits_2",
    },
    "test_working_directory.py": {"test_a_script_beside_folders_of_ones_own_imports_the_client"},
    "test_browser.py": {"test_the_dashboard_draws_a_study"},
}
