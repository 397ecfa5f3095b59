package numbers

import (
	"iter"
	"maps"
	"slices"
)

// Metric is one of the numbers of a [Snapshot], under the name that it has outside.
type Metric struct {
	Name   string
	Kind   Kind
	Labels []string
	Help   string // one sentence

	each func(s *Snapshot, yield func(Sample))
}

// Kind is what a number does.
type Kind string

// The kinds.
const (
	KindCounter   Kind = "counter" // only rises, until the application is started anew
	KindGauge     Kind = "gauge"
	KindHistogram Kind = "histogram" // of seconds, in the buckets of [Bounds]
)

// Sample is one value of a metric, with a value for each of its labels.
type Sample struct {
	Labels    []string
	Value     float64
	Histogram HistogramCopy // of a histogram, instead
}

// Samples are the values that m has in s.
func (m Metric) Samples(s *Snapshot) iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		more := true
		m.each(s, func(one Sample) {
			more = more && yield(one)
		})
	}
}

func value(v float64, labels ...string) Sample { return Sample{Labels: labels, Value: v} }

// ofService is a metric with a value for each service.
func ofService(v func(*Service) float64) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) {
		for i := range s.Services {
			yield(value(v(&s.Services[i]), s.Services[i].Name))
		}
	}
}

// ofCounts is one with a value for each word that something is counted by.
func ofCounts(counts func(*Service) map[string]uint64) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) {
		for i := range s.Services {
			all := counts(&s.Services[i])
			for _, word := range slices.Sorted(maps.Keys(all)) {
				yield(value(float64(all[word]), s.Services[i].Name, word))
			}
		}
	}
}

func ofMethod(sample func(*Service, *Method, func(Sample))) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) {
		for i := range s.Services {
			of := &s.Services[i]
			for j := range of.Methods {
				sample(of, &of.Methods[j], yield)
			}
		}
	}
}

func ofLink(sample func(*Service, *Link, func(Sample))) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) {
		for i := range s.Services {
			of := &s.Services[i]
			for j := range of.Links {
				sample(of, &of.Links[j], yield)
			}
		}
	}
}

func ofMailbox(v func(*Mailbox) float64) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) {
		for i := range s.Mailboxes {
			yield(value(v(&s.Mailboxes[i]), s.Mailboxes[i].Name))
		}
	}
}

func ofAll(v func(*Snapshot) float64) func(*Snapshot, func(Sample)) {
	return func(s *Snapshot, yield func(Sample)) { yield(value(v(s))) }
}

// Metrics are all of them. No label is of a process, a path or a principal.
func Metrics() []Metric {
	service := []string{"service"}
	method := []string{"service", "method"}
	return []Metric{
		{"cofferdam_build_info", KindGauge, []string{"version"}, "1, with the version of the program that runs.",
			func(s *Snapshot, yield func(Sample)) { yield(value(1, s.Version)) }},
		{"cofferdam_uptime_seconds", KindGauge, nil, "How long the application has been up.",
			ofAll(func(s *Snapshot) float64 { return s.Uptime.Seconds() })},

		{"cofferdam_instances", KindGauge, []string{"service", "state"}, "Instances by state, as ps names them; a service that has none now counts as one in its state.",
			func(s *Snapshot, yield func(Sample)) {
				for i := range s.Services {
					states := s.Services[i].States
					for _, state := range slices.Sorted(maps.Keys(states)) {
						yield(value(float64(states[state]), s.Services[i].Name, state))
					}
				}
			}},
		{"cofferdam_starts_total", KindCounter, service, "Instances that were started.",
			ofService(func(s *Service) float64 { return float64(s.Starts) })},
		{"cofferdam_exits_total", KindCounter, []string{"service", "cause"}, "Instances that ended, by cause: exit, signal, policy (stopped by the platform), internal, or the limit that ended them.",
			ofCounts(func(s *Service) map[string]uint64 { return s.Exits })},
		{"cofferdam_restarts_total", KindCounter, []string{"service", "cause"}, "Instances that were replaced, by how the one before ended.",
			ofCounts(func(s *Service) map[string]uint64 { return s.Restarts })},
		{"cofferdam_limit_hits_total", KindCounter, []string{"service", "limit"}, "How often a limit was hit: of an environment (oom, pids, cpu, wall, output, disk) or at the monitor (in_flight, queue, connections, posts, rate, mailbox).",
			ofCounts(func(s *Service) map[string]uint64 { return s.Limits })},

		{"cofferdam_cpu_seconds_total", KindCounter, service, "Processor time of all instances, those that have ended included.",
			ofService(func(s *Service) float64 { return s.CPU.Seconds() })},
		{"cofferdam_memory_bytes", KindGauge, service, "Memory of the instances that run.",
			ofService(func(s *Service) float64 { return float64(s.MemoryBytes) })},
		{"cofferdam_memory_limit_bytes", KindGauge, service, "What they may use by their limits; 0 for no limit.",
			ofService(func(s *Service) float64 { return float64(s.MemoryLimit) })},
		{"cofferdam_processes", KindGauge, service, "Processes and threads of the instances that run.",
			ofService(func(s *Service) float64 { return float64(s.Pids) })},
		{"cofferdam_output_bytes_total", KindCounter, service, "Bytes that instances printed.",
			ofService(func(s *Service) float64 { return float64(s.OutputBytes) })},

		{"cofferdam_decisions_total", KindCounter, []string{"service", "verb", "verdict"}, "Decisions of the monitor on what a service asked for.",
			func(s *Snapshot, yield func(Sample)) {
				for i := range s.Services {
					for _, d := range s.Services[i].Decisions {
						yield(value(float64(d.Allowed), s.Services[i].Name, d.Op, "allow"))
						yield(value(float64(d.Denied), s.Services[i].Name, d.Op, "deny"))
					}
				}
			}},
		{"cofferdam_denials_total", KindCounter, []string{"service", "rule"}, "Denials by what decided: default (nothing is granted), grant (one is there, and not for this), labels, or record (the decision could not be recorded).",
			ofCounts(func(s *Service) map[string]uint64 { return s.Denials })},

		{"cofferdam_calls_total", KindCounter, []string{"service", "method", "code"}, "Calls that have ended, at the service that answers, by the code that the caller got.",
			ofMethod(func(s *Service, m *Method, yield func(Sample)) {
				for _, code := range slices.Sorted(maps.Keys(m.Ended)) {
					yield(value(float64(m.Ended[code]), s.Name, m.Name, code))
				}
			})},
		{"cofferdam_calls_running", KindGauge, method, "Calls that wait or are being answered.",
			ofMethod(func(s *Service, m *Method, yield func(Sample)) { yield(value(float64(m.Running), s.Name, m.Name)) })},
		{"cofferdam_call_duration_seconds", KindHistogram, method, "From the request to the answer, or to what ended the call instead.",
			ofMethod(func(s *Service, m *Method, yield func(Sample)) {
				yield(Sample{Labels: []string{s.Name, m.Name}, Histogram: m.Duration})
			})},
		{"cofferdam_call_bytes_total", KindCounter, []string{"service", "method", "direction"}, "Bytes of the bodies of requests (in) and answers (out).",
			ofMethod(func(s *Service, m *Method, yield func(Sample)) {
				yield(value(float64(m.InBytes), s.Name, m.Name, "in"))
				yield(value(float64(m.OutBytes), s.Name, m.Name, "out"))
			})},
		{"cofferdam_call_wait_seconds", KindHistogram, method, "How long calls waited for an instance that answers, of those that had to.",
			ofMethod(func(s *Service, m *Method, yield func(Sample)) {
				yield(Sample{Labels: []string{s.Name, m.Name}, Histogram: m.Waits})
			})},

		{"cofferdam_queue_depth", KindGauge, []string{"service", "queue"}, "Who waits now: calls for an instance that answers (calls), and who wants an instance for a place of the service (places).",
			func(s *Snapshot, yield func(Sample)) {
				for i := range s.Services {
					of := &s.Services[i]
					yield(value(float64(of.Waiting()-of.Places.Depth), of.Name, "calls"))
					yield(value(float64(of.Places.Depth), of.Name, "places"))
				}
			}},
		{"cofferdam_place_wait_seconds", KindHistogram, service, "How long it took until there was a place for an instance, of those who had to wait.",
			func(s *Snapshot, yield func(Sample)) {
				for i := range s.Services {
					yield(Sample{Labels: []string{s.Services[i].Name}, Histogram: s.Services[i].Places.Waits})
				}
			}},
		{"cofferdam_budget_queue_depth", KindGauge, nil, "Instances that wait for the application's budget to have room.",
			ofAll(func(s *Snapshot) float64 { return float64(s.Budget.Depth) })},
		{"cofferdam_budget_wait_seconds", KindHistogram, nil, "How long instances waited for the budget; most do not.",
			func(s *Snapshot, yield func(Sample)) { yield(Sample{Histogram: s.Budget.Waits}) }},

		{"cofferdam_connections_open", KindGauge, []string{"service", "to"}, "Connections that a service has open, by the grant: service:port, or host:port of a machine outside.",
			ofLink(func(s *Service, l *Link, yield func(Sample)) { yield(value(float64(l.Open), s.Name, l.To)) })},
		{"cofferdam_connections_total", KindCounter, []string{"service", "to"}, "Connections that it has made.",
			ofLink(func(s *Service, l *Link, yield func(Sample)) { yield(value(float64(l.Total), s.Name, l.To)) })},
		{"cofferdam_connection_bytes_total", KindCounter, []string{"service", "to", "direction"}, "Bytes that it sent on them (out) and was sent (in).",
			ofLink(func(s *Service, l *Link, yield func(Sample)) {
				yield(value(float64(l.OutBytes), s.Name, l.To, "out"))
				yield(value(float64(l.InBytes), s.Name, l.To, "in"))
			})},
		{"cofferdam_wire_connections", KindGauge, nil, "Connections of programs to the monitor.",
			ofAll(func(s *Snapshot) float64 { return float64(s.Conns) })},
		{"cofferdam_mount_refs", KindGauge, service, "Directories of the host that instances of a service have asked for and not given back.",
			ofService(func(s *Service) float64 { return float64(s.MountRefs) })},

		{"cofferdam_mailbox_messages", KindGauge, []string{"mailbox"}, "Messages that wait in a mailbox of the manifest.",
			ofMailbox(func(b *Mailbox) float64 { return float64(b.Messages) })},
		{"cofferdam_mailbox_bytes", KindGauge, []string{"mailbox"}, "What they take.",
			ofMailbox(func(b *Mailbox) float64 { return float64(b.Bytes) })},
		{"cofferdam_mailbox_received_total", KindCounter, []string{"mailbox"}, "Messages that found room.",
			ofMailbox(func(b *Mailbox) float64 { return float64(b.Received) })},
		{"cofferdam_mailbox_dropped_total", KindCounter, []string{"mailbox"}, "Messages that were dropped because it was full, its sender had as much there as it leaves for others, or its owner had ended.",
			ofMailbox(func(b *Mailbox) float64 { return float64(b.Dropped) })},

		{"cofferdam_spans_total", KindCounter, nil, "Spans of calls that were to be kept.",
			ofAll(func(s *Snapshot) float64 { return float64(s.Traces.Made) })},
		{"cofferdam_spans_dropped_total", KindCounter, nil, "Of those, that were dropped because too many waited to be sent.",
			ofAll(func(s *Snapshot) float64 { return float64(s.Traces.Dropped) })},

		{"cofferdam_audit_records_total", KindCounter, nil, "Records that were written to the audit log.",
			ofAll(func(s *Snapshot) float64 { return float64(s.Records) })},
	}
}
