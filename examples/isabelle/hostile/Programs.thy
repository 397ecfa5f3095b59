(* Starts programs, and has them do what one of them might be able to do. *)
theory Programs imports Try begin

ML ‹
val () = attempt "system" (fn () => if OS.Process.isSuccess (OS.Process.system "exit 0") then "RUNS" else "fails");
val () = app (fn (name, command) => attempt name (fn () => shell command))
 [("processes", "cat /proc/[0-9]*/comm | sort | uniq"),
  ("environment", "env; tr '\\0' '\\n' </proc/$PPID/environ"),
  ("user namespace", "unshare -Ur id"),
  ("other namespaces", "unshare -m true; unshare -n true; unshare -p true"),
  ("join", "nsenter -t 1 -a true"),
  ("mount", "mount -t tmpfs none /mnt"),
  ("bind", "mount --bind /proc /tmp"),
  ("remount", "mount -o remount,rw /"),
  ("swap", "swapon /tmp/x"),
  ("root", "chroot / true"),
  ("module", "/sbin/insmod /tmp/x.ko || python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(313, 0, b\"\", 0), ctypes.get_errno())'"),
  ("clock", "date -s 2001-01-01"),
  ("name", "hostname x"),
  ("priority", "nice -n -10 true; renice -n -10 $$"),
  ("trace", "python3 -c 'import ctypes, os; l = ctypes.CDLL(None, use_errno=True); print(l.ptrace(16, os.getppid(), 0, 0), ctypes.get_errno())'"),
  ("descriptors", "python3 -c 'import ctypes, os; l = ctypes.CDLL(None, use_errno=True); f = l.syscall(434, os.getppid(), 0); print(f, l.syscall(438, f, 0, 0), ctypes.get_errno())'"),
  ("keys", "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(250, 0, -3, 1), ctypes.get_errno())'"),
  ("ring", "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(425, 1, 0), ctypes.get_errno())'"),
  ("bpf", "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(321, 0, 0, 0), ctypes.get_errno())'"),
  ("root by a program", "su -c true; sudo -n true; passwd -l root")];
›
end
