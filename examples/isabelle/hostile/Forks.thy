(* Starts as many programs as it can. *)
theory Forks imports Try begin
ML ‹
val () = attempt "forks" (fn () => shell "bomb() { bomb | bomb & }; bomb; i=0; while [ $i -lt 500 ]; do sleep 100 & i=$((i+1)); done; echo started");
val () = OS.Process.sleep (Time.fromSeconds 2);
›
end
