package spawner

import (
	"errors"
	"testing"

	"cofferdam/executor"
	"cofferdam/executor/namespace/host"
)

// TestCheckDegraded starts on hosts that lack something.
func TestCheckDegraded(t *testing.T) {
	noLandlock := host.Landlock(0)
	if noLandlock.Status != executor.Fail || noLandlock.Fix == "" {
		t.Errorf("without landlock doctor says %+v, want %s and a fix", noLandlock, executor.Fail)
	}
	watched := executor.Protection{Name: "cgroup.memory", Status: executor.Degraded}
	oneID := executor.Protection{Name: "uid-range", Status: executor.Degraded}
	for _, tt := range []struct {
		name    string
		host    executor.Protection
		allowed []string
		want    error
	}{
		{"absent", noLandlock, nil, executor.ErrUnsupported},
		{"absent, another allowed", noLandlock, []string{"cgroup"}, executor.ErrUnsupported},
		{"absent, allowed", noLandlock, []string{"landlock"}, nil},
		{"weaker", watched, nil, executor.ErrUnsupported},
		{"weaker, a sibling allowed", watched, []string{"cgroup.pids"}, executor.ErrUnsupported},
		{"weaker, allowed", watched, []string{"cgroup.memory"}, nil},
		{"weaker, its group allowed", watched, []string{"cgroup"}, nil},
		{"one id", oneID, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{protections: []executor.Protection{tt.host}}
			if err := s.checkDegraded(tt.allowed); !errors.Is(err, tt.want) {
				t.Errorf("checkDegraded(%q) with %s %s = %v, want %v", tt.allowed, tt.host.Name, tt.host.Status, err, tt.want)
			}
		})
	}
}
