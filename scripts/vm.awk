# Reads what scripts/vm-inside printed and writes a row of docs/HOSTS.md. Fails
# for a test that failed, and for tests that never came to their end.
/^== host / { sub(/^== host /, ""); what = $0 }
/^== doctor / { who = $3; doctor = 1; next }
/^== exit / {
	if (!doctor && $3 != 0) { bad = 1; print "exit code " $3 " of " running > "/dev/stderr" }
	doctor = 0
}
doctor && /^[a-z].* (PASS|DEGRADED|FAIL) / {
	if ($2 != "PASS") weak[who] = weak[who] (weak[who] ? ", " : "") $1 " " $2
	else held[who]++
}
/^== as / { who = $3; sub(/,$/, "", who); from[who] = $4 }
/^== run / { running = $3 " " $4 }
/^== done/ { done = 1; to = $3 }
/^ *--- PASS/ { passed[who]++ }
/^ *--- FAIL/ { failed[who]++; print who ": " $0 > "/dev/stderr" }
/^ *--- SKIP/ { skipped[who]++ }
match($0, /_test\.go:[0-9]+: needs [a-z0-9.-]+:/) {
	n = split(substr($0, RSTART, RLENGTH - 1), words, " ")
	if (!seen[who, words[n]]++) why[who] = why[who] (why[who] ? ", " : "") words[n]
}
END {
	if (!done) { bad = 1; print "the tests did not come to their end" > "/dev/stderr" }
	split("root user", modes, " ")
	for (m = 1; m <= 2; m++) {
		who = modes[m]
		time = (m == 1 ? from["user"] : to) - from[who]
		printf "| %s | %s | %s | %d PASS%s | %d / %d / %d%s | %.0f s (%s) | %s |\n", host, what, who,
			held[who], weak[who] ? ", " weak[who] : "", passed[who], failed[who], skipped[who],
			why[who] ? ": " why[who] : "", time, accel, date
		if (failed[who] || !passed[who]) bad = 1
	}
	exit bad
}
