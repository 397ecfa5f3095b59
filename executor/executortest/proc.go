package executortest

import (
	"os"
	"strings"
)

// procCases are about terminals, descriptors and the identity of processes.
var procCases = []Case{
	{
		Name: "proc/capabilities", Row: "CVE-2022-29162, CVE-2019-12618",
		Invisible: "it is a state, and nothing is attempted",
		Inside: func(in *Inside) {
			b, err := os.ReadFile("/proc/self/status")
			in.Must(err)
			for _, want := range []string{
				"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
				"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
				"NoNewPrivs:\t1", "Seccomp:\t2", "SigBlk:\t0000000000000000",
				"Uid:\t1000\t1000\t1000\t1000", "Gid:\t1000\t1000\t1000\t1000",
			} {
				name, _, _ := strings.Cut(want, ":")
				_, got, _ := strings.Cut(string(b), "\n"+name+":")
				got, _, _ = strings.Cut(got, "\n")
				in.Check("read "+name, name+":"+got, want)
			}
		},
	},
}
