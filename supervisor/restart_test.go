package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"cofferdam/supervisor"
)

// TestStopsAtAnOrder: the application ends though what an order waits for does not come,
// whether the old instance has ended for it or serves on.
func TestStopsAtAnOrder(t *testing.T) {
	for name, volume := range map[string]string{"old ends first": ", volumes: [{name: v, to: /data, size: 1M}]", "old serves on": ""} {
		t.Run(name, func(t *testing.T) {
			a := prepare(t, "\n  patient: "+patientOf("fails", "start_period: 1h, exec: [/app/p, program, checkup, late]", volume))
			ready := a.begin()
			a.awaitHealth("patient", supervisor.Untried)
			a.exec("patient", "cured") // this one, and not the next
			<-ready
			began, ordered := make(chan string, 8), make(chan error, 1)
			go func() {
				ordered <- a.sup.Restart(t.Context(), []string{"patient"}, time.Hour, 0, func(text string) { began <- text })
			}()
			t.Log(<-began)
			a.sup.Stop()
			select {
			case err := <-a.ended:
				a.ended <- err
			case <-time.After(20 * time.Second):
				t.Fatal("the application does not end")
			}
			if err := <-ordered; err == nil {
				t.Error("the order has been carried out")
			} else if name == "old ends first" && !strings.Contains(err.Error(), "stopping") {
				t.Errorf("the order: %v", err)
			}
		})
	}
}
