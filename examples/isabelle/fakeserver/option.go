package fakeserver

import (
	"fmt"
	"strconv"
	"strings"
)

// options are those that the server knows, with their types and defaults. Few of
// them mean anything here, but a wrong one is told.
var options = map[string][2]string{
	"browser_info": {"bool", "false"}, "document": {"string", ""}, "document_output": {"string", ""}, "document_variants": {"string", "document"},
	"document_echo": {"bool", "false"}, "build_database_server": {"bool", "false"}, "condition": {"string", ""}, "timeout": {"real", "0"},
	"timeout_scale": {"real", "1"}, "timeout_build": {"bool", "true"}, "process_output_limit": {"int", "100"}, "process_output_tail": {"int", "40"},
	"process_policy": {"string", ""}, "threads": {"int", "0"}, "threads_trace": {"int", "0"}, "threads_stack_limit": {"real", "0.25"},
	"parallel_limit": {"int", "0"}, "parallel_proofs": {"int", "1"}, "parallel_subproofs_threshold": {"real", "0.01"},
	"command_timing_threshold": {"real", "0.1"}, "skip_proofs": {"bool", "false"}, "quick_and_dirty": {"bool", "false"},
	"goals_limit": {"int", "10"}, "names_long": {"bool", "false"}, "names_short": {"bool", "false"}, "names_unique": {"bool", "true"},
	"eta_contract": {"bool", "true"}, "print_mode": {"string", ""}, "pretty_margin": {"int", "76"}, "show_types": {"bool", "false"},
	"show_sorts": {"bool", "false"}, "show_brackets": {"bool", "false"}, "show_question_marks": {"bool", "true"}, "show_main_goal": {"bool", "false"},
	"system_log": {"string", ""}, "system_heaps": {"bool", "false"}, "record_proofs": {"int", "-1"}, "record_theories": {"bool", "false"},
	"export_theory": {"bool", "false"}, "export_standard_proofs": {"bool", "false"}, "export_proofs": {"bool", "false"}, "ML_print_depth": {"int", "20"},
	"ML_exception_trace": {"bool", "false"}, "ML_exception_debugger": {"bool", "false"}, "ML_debugger": {"bool", "false"}, "ML_statistics": {"bool", "true"},
	"ML_system_64": {"bool", "false"}, "ML_process_policy": {"string", ""}, "ML_heap_export": {"bool", "true"}, "pide_reports": {"bool", "true"},
	"build_delay": {"real", "0.2"}, "headless_consolidate_delay": {"real", "15"}, "headless_prune_delay": {"real", "60"},
	"headless_check_delay": {"real", "0.5"}, "headless_check_limit": {"int", "0"}, "headless_nodes_status_delay": {"real", "-1"},
	"headless_watchdog_timeout": {"real", "600"}, "headless_commit_cleanup_delay": {"real", "60"}, "headless_load_limit": {"real", "5"},
	"show_consts": {"bool", "false"}, "show_markup": {"bool", "false"}, "strict_facts": {"bool", "false"}, "thy_output_indent": {"int", "0"},
	"thy_output_margin": {"int", "76"}, "thy_output_quotes": {"bool", "false"}, "thy_output_source": {"bool", "false"}, "thy_output_display": {"bool", "false"},
	"editor_output_state": {"bool", "false"}, "jedit_print_mode": {"string", ""}, "z3_non_commercial": {"string", "unknown"},
	"auto_quickcheck": {"bool", "true"}, "auto_nitpick": {"bool", "false"}, "auto_sledgehammer": {"bool", "false"}, "auto_time_limit": {"real", "2"},
	"sledgehammer_timeout": {"int", "30"}, "sledgehammer_provers": {"string", "cvc4 vampire verit e spass z3 zipperposition"},
}

// settings are options with the values that a session has.
type settings map[string]string

// set takes NAME=VALUE, or the NAME of one that is true or false.
func (s settings) set(spec string) error {
	name, v, given := strings.Cut(spec, "=")
	o, ok := options[name]
	if !ok {
		return fmt.Errorf("Unknown option %q", name)
	}
	if !given {
		if o[0] != "bool" {
			return fmt.Errorf("Missing value for option %q : %s", name, o[0])
		}
		v = "true"
	}
	var err error
	switch o[0] {
	case "bool":
		if v != "true" && v != "false" {
			err = strconv.ErrSyntax
		}
	case "int":
		_, err = strconv.ParseInt(v, 10, 32)
	case "real":
		_, err = strconv.ParseFloat(v, 64)
	}
	if err != nil {
		return fmt.Errorf("Malformed value for option %q : %s =\n%q", name, o[0], v)
	}
	s[name] = v
	return nil
}

func (s settings) on(name string) bool {
	v, ok := s[name]
	if !ok {
		v = options[name][1]
	}
	return v == "true"
}

// prefer takes the text of a file of preferences. Options that are not known belong to others.
func (s settings) prefer(preferences string) error {
	all := tokens(preferences)
	for i := 0; i < len(all); i += 3 {
		if i+2 >= len(all) || all[i].kind != word || all[i+1].value != "=" {
			return fmt.Errorf("Malformed preferences: %s = VALUE expected,\nbut %s was found", "NAME", all[i].describe())
		}
		if _, ok := options[all[i].value]; ok {
			if err := s.set(all[i].value + "=" + all[i+2].value); err != nil {
				return err
			}
		}
	}
	return nil
}
