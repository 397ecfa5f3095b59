(* Finds the password of its own server and uses it: tells of it, and then shuts it down. *)
theory Own imports Try begin

ML ‹
val () = attempt "commands" (fn () => shell ("python3 -I /shares/*/own.py"));
›
end
