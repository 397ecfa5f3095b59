package main

import (
	"fmt"
	"runtime"
	"time"

	"cofferdam/bench/own"
)

// pooledPause is long enough for what is prepared ahead to be prepared again, and too
// short for the kernel's cgroup lock of version 1 to fall asleep.
const pooledPause = 5 * time.Millisecond

// scenarios are all, in the order in which they are told. The targets are those that
// were set before anything was measured.
func scenarios() []scenario {
	var all []scenario
	one, paced := pace{workers: 1}, pace{workers: 1, pause: pooledPause}
	all = append(all, scenario{
		name: "start-cold", what: "a complete environment from nothing to the known exit of /bin/true", unit: "ms", rounds: 7, count: 40,
		contestants: []contestant{
			starting("cofferdam", "as up runs it: four blank inits wait ahead, and are used up as fast as they are made", shape{}, nothing, one),
			starting("cofferdam, nothing ahead", "the same without blank inits", shape{blanks: -1}, nothing, one),
			bwrap.contestant(nothing, one), crun(nothing, one), nsjail.contestant(nothing, one), minijail.contestant(nothing, one), forkExec(nothing, one),
		},
		ratios: []pair{
			{of: "cofferdam", to: "bwrap", most: 0.6}, {of: "cofferdam", to: "crun"}, {of: "cofferdam", to: "nsjail"}, {of: "cofferdam", to: "minijail0"},
			{of: "cofferdam", to: "fork+exec"}, {of: "cofferdam, nothing ahead", to: "bwrap"},
		},
	}, scenario{
		name: "start-pooled", what: "the same after a pause of 5 ms, in which whoever prepares anything ahead can", unit: "ms", rounds: 7, count: 40,
		contestants: []contestant{
			starting("cofferdam", "eight environments wait complete up to the exec, each for one use", shape{prepared: 8}, nothing, paced),
			starting("cofferdam, not prepared", "four blank inits wait ahead", shape{}, nothing, paced),
			judge(nothing, paced), forkExec(nothing, paced),
		},
		ratios: []pair{{of: "cofferdam", to: "fork+exec", most: 1.5}, {of: "cofferdam", to: "go-judge", most: 0.25}, {of: "cofferdam, not prepared", to: "fork+exec"}},
	})
	for _, workers := range []int{2, 8} {
		all = append(all, startingAtOnce(workers))
	}
	for _, workers := range []int{1, 2, 8} {
		all = append(all, pythons(workers))
	}
	all = append(all, nodes(1), nodes(2))
	small := calling(64)
	many := up("cofferdam", "as the kernel places them", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.Calls(64, n) })
	manyOnOne := pinned([]contestant{many})[0]
	manyOnOne.name, manyOnOne.how = "one core", "the same, with all processes on one core"
	all = append(all, small, onOneCore(small), calling(64<<10), scenario{
		name: "call-many", what: fmt.Sprintf("calls of 64 callers at once, on %d cores", runtime.NumCPU()), unit: "per s", more: true, rounds: 5, count: 20000,
		contestants: []contestant{many, manyOnOne},
		ratios:      []pair{{of: "cofferdam", to: "one core"}},
	})
	handed := scenario{
		name: "latency-handed", what: "64 bytes there and back over such a connection", unit: "µs", rounds: 7, count: 4000,
		contestants: []contestant{
			up("cofferdam", "dialled by the monitor, handed to the Go SDK, cut by a duplicate", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.PingHanded(n) }),
			loopback("ping-serve", "ping", 1),
		},
		ratios: []pair{{of: "cofferdam", to: "loopback", most: 1.11}},
	}
	all = append(all, scenario{
		name: "bulk-relay", what: "1 GiB over one connection of an unmodified program from one environment to another", unit: "GB/s", more: true, rounds: 5, count: 1024,
		contestants: []contestant{
			up("cofferdam", "relayed by the monitor", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.Bulk(n * bulkBytes) }),
			loopback("bulk-serve", "bulk", bulkBytes), spliced("bulk-serve", "bulk", bulkBytes), veth("bulk-serve", "bulk", bulkBytes),
		},
		ratios: []pair{{of: "cofferdam", to: "loopback", least: 0.6}, {of: "cofferdam", to: "splice proxy"}, {of: "cofferdam", to: "veth pair"}},
	}, scenario{
		name: "latency-relay", what: "64 bytes there and back over such a connection", unit: "µs", rounds: 7, count: 4000,
		contestants: []contestant{
			up("cofferdam", "relayed by the monitor", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.Ping(n) }),
			loopback("ping-serve", "ping", 1), spliced("ping-serve", "ping", 1), veth("ping-serve", "ping", 1),
		},
		ratios: []pair{{of: "cofferdam", to: "loopback"}, {of: "cofferdam", to: "splice proxy"}, {of: "cofferdam", to: "veth pair"}},
	}, scenario{
		name: "bulk-handed", what: "1 GiB over one connection of which the program has the socket (direct: true)", unit: "GB/s", more: true, rounds: 7, count: 1024,
		contestants: []contestant{
			up("cofferdam", "dialled by the monitor, handed to the Go SDK, cut by a duplicate", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.BulkHanded(n * bulkBytes) }),
			loopback("bulk-serve", "bulk", bulkBytes),
		},
		ratios: []pair{{of: "cofferdam", to: "loopback", least: 0.9}},
	}, handed, onOneCore(handed), scenario{
		name: "http", what: "requests over 64 connections that are kept, for 528 bytes", unit: "per s", more: true, rounds: 5, count: 30000,
		contestants: []contestant{site(64), nginx.contestant(64), nginx.grouped(64), caddy.contestant(64), alone(64)},
		ratios: []pair{
			{of: "cofferdam", to: "nginx", least: 0.8}, {of: "cofferdam", to: "nginx", p99: true, most: 1.5},
			{of: "cofferdam", to: "nginx, grouped"}, {of: "cofferdam", to: "nginx, grouped", p99: true},
			{of: "cofferdam", to: "Caddy"}, {of: "cofferdam", to: "backend alone"},
		},
	}, scenario{
		name: "label", what: "may it flow? 4 clauses of 3 names on each side, 64 pairs in turn", unit: "million per s", more: true, rounds: 5, count: 20000,
		contestants: []contestant{
			checks("cofferdam", "Label.FlowsTo; pairs that were asked before", func(q *labelled) bool { return q.from.FlowsTo(q.to) }),
			checks("plain sets", "the definition written down over slices of strings", func(q *labelled) bool { return plainFlows(q.fromSet, q.toSet) }),
		},
		ratios: []pair{{of: "cofferdam", to: "plain sets"}},
	}, memory(), waiting())
	return append(all, stressed()...)
}

// startingAtOnce is how many environments there are in a second.
func startingAtOnce(workers int) scenario {
	at := pace{workers: workers, rate: true}
	sc := scenario{
		name: fmt.Sprintf("start-%d", workers), what: fmt.Sprintf("/bin/true in environments, started by %d at once", workers), unit: "per s", more: true, rounds: 5, count: 200,
		contestants: []contestant{
			starting("cofferdam", "as up runs it", shape{}, nothing, at),
			starting("cofferdam, prepared", "32 environments wait complete up to the exec, and are made again meanwhile", shape{prepared: 32}, nothing, at),
			bwrap.contestant(nothing, at), crun(nothing, at), judge(nothing, at), forkExec(nothing, at),
		},
		ratios: []pair{{of: "cofferdam", to: "bwrap"}, {of: "cofferdam", to: "crun"}, {of: "cofferdam", to: "go-judge"}, {of: "cofferdam", to: "fork+exec"}, {of: "cofferdam, prepared", to: "bwrap"}, {of: "cofferdam, prepared", to: "go-judge"}},
	}
	if workers == 8 {
		sc.ratios[0].least = 4
	}
	return sc
}

// pythons are snippets of Python, each in an environment of its own.
func pythons(workers int) scenario {
	at := pace{workers: workers, rate: workers > 1}
	const fork, executed, alone = "cofferdam", "cofferdam, executed", "cofferdam, executor alone"
	sc := scenario{
		name: "python", what: "python3 -I -c 'print(6*7)' in an environment of its own", unit: "ms", rounds: 5, count: 30,
		contestants: []contestant{
			snippets(fork, "a service spawns a template through the monitor, warm: {by: fork, spares: 8}", "    warm: {by: fork, spares: 8}\n", snippet, at),
			snippets(executed, "the same, without warm", "", snippet, at),
			starting(alone, "the executor asked for forks of an interpreter that waits", shape{as: forked}, snippet, at),
			bwrap.contestant(snippet, at), judge(snippet, at), forkExec(snippet, at),
		},
		ratios: []pair{
			{of: fork, to: "bwrap", most: 0.2}, {of: fork, to: "go-judge"}, {of: fork, to: "fork+exec"},
			{of: alone, to: "bwrap"}, {of: executed, to: "bwrap"}, {of: executed, to: "go-judge"},
		},
	}
	if workers > 1 {
		sc.name, sc.unit, sc.more, sc.count = fmt.Sprintf("python-%d", workers), "per s", true, 60
		sc.what = fmt.Sprintf("the same, asked for by %d at once", workers)
		sc.ratios[0].most = 0
	}
	if workers == 2 {
		sc.ratios[0].least, sc.ratios[1].least = 6, 5
	}
	return sc
}

// nodePause is long enough for Node.js to be executed once more, on a machine that has other things to do.
const nodePause = 150 * time.Millisecond

// nodes are scripts of Node.js, each in an environment of its own.
func nodes(workers int) scenario {
	at := pace{workers: workers, rate: workers > 1, pause: nodePause}
	const ready, executed, alone = "cofferdam", "cofferdam, executed", "cofferdam, executor alone"
	sc := scenario{
		name: "node", what: "node -e 'console.log(6*7)' in an environment of its own, after a pause of 150 ms", unit: "ms", rounds: 5, count: 12,
		contestants: []contestant{
			snippets(ready, "a service spawns a template through the monitor, warm: {by: exec, spares: 4}", "    warm: {by: exec, spares: 4}\n", script, at),
			snippets(executed, "the same, without warm", "", script, at),
			starting(alone, "the executor asked for an interpreter that was executed before", shape{prepared: 4, as: ahead}, script, at),
			bwrap.contestant(script, at), judge(script, at), forkExec(script, at),
		},
		ratios: []pair{{of: ready, to: executed}, {of: ready, to: "bwrap"}, {of: ready, to: "go-judge"}, {of: ready, to: "fork+exec"}, {of: alone, to: "bwrap"}, {of: executed, to: "bwrap"}},
	}
	if workers > 1 {
		sc.name, sc.unit, sc.more, sc.count = fmt.Sprintf("node-%d", workers), "per s", true, 30
		sc.what = fmt.Sprintf("the same, asked for by %d at once without a pause: each interpreter is executed all the same", workers)
	}
	return sc
}

// onOneCore is a scenario with all processes on one core.
func onOneCore(sc scenario) scenario {
	sc.name += "-one-core"
	sc.what = "the same, with all processes on one core: to wake another costs more than the rest on virtual machines"
	sc.contestants = pinned(sc.contestants)
	return sc
}

// calling is a call of that size.
func calling(size int) scenario {
	sc := scenario{
		name: "call", what: "64 bytes from one environment to another and back", unit: "µs", rounds: 7, count: 4000,
		contestants: []contestant{
			up("cofferdam", "the Go SDK on both sides, every call decided and recorded; three processes", own.Pair, func(a *own.App, n int) (own.Reading, error) { return a.Call(size, n) }),
			outside("socket pair", "two Go programs and a Unix socket pair", func(p own.Program, n int) (own.Reading, error) { return p.Pairs(size, n) }),
			grpcPeer.contestant(size), natsPeer.contestant(size),
		},
		ratios: []pair{{of: "cofferdam", to: "socket pair", most: 2.2}, {of: "cofferdam", to: "gRPC", most: 0.5}, {of: "cofferdam", to: "NATS", most: 0.5}},
	}
	if size > 64 {
		sc.name, sc.what, sc.count = fmt.Sprintf("call-%dk", size>>10), fmt.Sprintf("%d KiB from one environment to another and back", size>>10), 1000
		sc.ratios = []pair{{of: "cofferdam", to: "socket pair", most: 2.5}, {of: "cofferdam", to: "gRPC"}, {of: "cofferdam", to: "NATS"}}
	}
	return sc
}
