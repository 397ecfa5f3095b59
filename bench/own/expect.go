package own

import (
	"fmt"
	"strings"
)

// Expect says in sentences what figures of a machine mean for who uses it, and what
// limits them.
func Expect(m Machine, degraded []string, figures []Figure) []string {
	at := make(map[string]Figure)
	for _, f := range figures {
		at[f.Name] = f
	}
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if m.Busy() {
		say("Others use this machine (load %.1f on %d cores): quiet, it does better than this.", m.Load, m.Cores)
	}
	start, many := at["start"], at["start-many"]
	if start.Value > 0 && many.Value > 0 {
		say("Some %s environments a second can come and go. One takes %s, one in a hundred %s.", round(many.Value), times(start.Value, "ms"), times(start.P99, "ms"))
		if p := at["process"]; p.Value > 0 {
			say("Isolation costs %s of that: an ordinary process takes %s.", times(start.Value-p.Value, "ms"), times(p.Value, "ms"))
		}
		if alone := 1000 / start.Value; many.Value > 1.3*alone {
			say("Starting many at once pays: one after the other it is %s a second. What limits both is the kernel, which makes and removes namespaces.", round(alone))
		} else {
			say("More at once do not help: what limits it is the kernel, which makes and removes namespaces.")
		}
	}
	if ready := at["start-ready"]; ready.Value > 0 && start.Value > 0 {
		say("One that waits complete for its program takes %s: that is what warm in the manifest is for.", times(ready.Value, "ms"))
	}
	if run := at["run"]; run.Value > 0 {
		say("cofferdam run takes %s: it starts a spawner, and a canary tries every protection, before each program. An application does that once.", times(run.Value, "ms"))
	}
	if idle, paced := at["start-idle"], at["start-paced"]; idle.Value > paced.Value+2 && paced.Value > 0 {
		if m.Cgroup == "v1" {
			say("After a pause the first start waits %s more: the kernel's cgroup version 1 wakes up. Version 2 does not: boot with systemd.unified_cgroup_hierarchy=1.", times(idle.Value-paced.Value, "ms"))
		} else {
			say("After a pause the first start takes %s more: processors that slept, and caches that others used.", times(idle.Value-paced.Value, "ms"))
		}
	}
	if call, many := at["call"], at["call-many"]; call.Value > 0 && many.Value > 0 {
		say("A call takes %s; together callers make some %s a second, each decided and recorded.", times(call.Value, "µs"), round(many.Value))
		if p := at["pair"]; p.Value > 0 {
			say("Two ordinary processes take %s: a call is %.1f times that, of which 2 are because it passes the monitor both ways.", times(p.Value, "µs"), call.Value/p.Value)
			if p.Value > 30 {
				say("That much for two processes means that waking another core is dear here, as on virtual machines; it limits calls more than the monitor does.")
			}
		}
	}
	if bulk, ping := at["bulk"], at["ping"]; bulk.Value > 0 && ping.Value > 0 {
		say("A connection between environments moves %.1f GB/s; a message there and back takes %s.", bulk.Value, times(ping.Value, "µs"))
	}
	if http := at["http"]; http.Value > 0 {
		say("The gateway answers some %s requests a second, one in a hundred after %s; who asked ran here too, and took part of the %d cores.", round(http.Value), times(http.P99, "ms"), m.Cores)
	}
	if len(degraded) > 0 {
		say("This host lacks %s, or has it weaker: cofferdam doctor says what would provide it, and with it figures change.", strings.Join(degraded, ", "))
	}
	return said
}

// times is a time for people.
func times(v float64, unit string) string {
	switch {
	case unit == "µs" && v >= 1000:
		return times(v/1000, "ms")
	case v >= 10:
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// round is a rate with two digits that count: more would promise too much.
func round(v float64) string {
	step := 1
	for n := int(v); n >= 100; n /= 10 {
		step *= 10
	}
	return fmt.Sprint(int(v) / step * step)
}
