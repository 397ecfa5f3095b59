(* Reads what is not its own, and writes where nothing should be written. *)
theory Files imports Try begin

ML ‹
fun read file = attempt ("read " ^ file) (fn () => "READ: " ^ contents file);
fun list dir = attempt ("list " ^ dir) (fn () => "LISTED: " ^ String.concatWith " " (listed dir));
fun write file = attempt ("write " ^ file) (fn () => (put file "x"; "WRITTEN"));

val () = app read ["@SECRET@", "/proc/1/root@SECRET@", "/proc/self/root@SECRET@", "/proc/self/cwd/../../../../../..@SECRET@",
  "@STATE@/audit.jsonl", "@DIR@/examples/isabelle/tenants.json", "@DIR@/examples/isabelle/cofferdam.yaml", "/app/tenants.json",
  "/etc/shadow", "/etc/ssh/sshd_config", "/root/.profile", "/proc/kcore", "/proc/1/environ", "/proc/keys", "/sys/kernel/notes", "/dev/mem",
  "/dev/kmsg", "/var/log/dpkg.log"];
val () = app list ["@OTHER@", "@DIR@", "/home", "/root", "/var", "/run", "/boot", "/sys/fs/cgroup"];
val () = app write ["/usr/bin/x", "/bin/sh", "/etc/passwd", "/app/x", "/app/fakeserver", "/x", "/dev/x", "@OTHER@/x", "@SECRET@",
  "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/1/mem",
  "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/shares/x"];
val () = tell "shares" (String.concatWith " " (listed "/shares"));

(* links do not lead out either *)
val () = attempt "link" (fn () => (Posix.FileSys.symlink {old = "@SECRET@", new = OS.FileSys.getDir () ^ "/link"} ; "MADE"));
val () = read (OS.FileSys.getDir () ^ "/link");
›
end
