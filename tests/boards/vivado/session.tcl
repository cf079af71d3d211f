# Runs a script of Vivado's in tclsh: each command of Vivado becomes a question on standard output, whose answer comes on
# standard input. Arguments: the script, the file of the commands' names, the script's own arguments.

fconfigure stdout -translation lf
fconfigure stdin -translation lf

proc ask {name words} {
    set coded {}
    foreach word [linsert $words 0 $name] { lappend coded x[binary encode hex [encoding convertto utf-8 $word]] }
    puts "\x01[join $coded]"
    flush stdout
    set answer [gets stdin]
    set value [encoding convertfrom utf-8 [binary decode hex [string range $answer 1 end]]]
    if {[string index $answer 0] eq "!"} { error $value }
    return $value
}
proc unknown {args} { error "invalid command name \"[lindex $args 0]\"" }

set script [lindex $argv 0]
set names [open [lindex $argv 1]]
foreach name [split [string trim [read $names]] \n] {
    namespace eval [expr {[namespace qualifiers $name] eq "" ? "::" : [namespace qualifiers $name]}] {}
    proc ::$name {args} "return \[ask [list $name] \$args\]"
}
close $names
set argv [lrange $argv 2 end]
set argc [llength $argv]
if {[catch {source -encoding utf-8 $script} message]} {
    puts stderr $::errorInfo
    exit 1
}
exit 0
