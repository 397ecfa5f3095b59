package linux

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForks(t *testing.T) {
	for range 20 {
		if n, err := Forks(8); n != 8 || err != nil {
			t.Errorf("Forks(8) = %d, %v", n, err)
		}
	}
	if _, err := Forks(maxForks + 1); err == nil {
		t.Error("as many as one likes")
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil || !strings.Contains(string(status), "SigBlk:\t0000000000000000") {
		t.Errorf("signals stay blocked: %v\n%s", err, status)
	}
}

// Trying costs nobody anything: the thread that was restricted is gone.
func TestLandlockRoom(t *testing.T) {
	want := 0
	if LandlockABI() > 0 {
		want = maxLandlockLayers
	}
	for range 20 {
		if got := LandlockRoom(); got != want {
			t.Fatalf("LandlockRoom() = %d, want %d", got, want)
		}
	}
}
