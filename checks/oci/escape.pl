# What a job may try in order to send something past the proxy. Whether it did is seen outside; here it is only tried,
# each way once, and said what came of it.
use strict;
use warnings;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6);

my ( $outside, $outside6, $own ) = ( "93.184.216.34", "2001:db8:99::1", $ARGV[0] );
my ( $SO_BINDTODEVICE, $SO_BROADCAST, $IP_FREEBIND, $IPV6_FREEBIND ) = ( 25, 6, 15, 78 );
my ( $IP_ADD_MEMBERSHIP, $IPPROTO_IPV6, $UDP ) = ( 35, 41, 17 );

sub to { return pack_sockaddr_in( $_[1], inet_aton( $_[0] ) ) }
sub to6 { return pack_sockaddr_in6( $_[1], inet_pton( AF_INET6, $_[0] ) ) }

sub try {
    my ( $what, $way ) = @_;
    local $SIG{ALRM} = sub { die "nothing for two seconds\n" };
    alarm 2;
    my $done = eval { $way->() };
    my $why  = $@ ? $@ =~ s/\n//r : "$!";
    alarm 0;
    print "tried: $what: ", ( $done ? "sent" : $why ), "\n";
}

sub open_socket {
    my ( $family, $kind, %options ) = @_;
    socket( my $socket, $family, $kind, 0 ) or die "socket: $!\n";
    setsockopt( $socket, SOL_SOCKET, $SO_BINDTODEVICE, $options{device} ) or die "device: $!\n" if $options{device};
    setsockopt( $socket, SOL_SOCKET, $SO_BROADCAST, 1 ) or die "broadcast: $!\n" if $options{broadcast};
    setsockopt( $socket, 0, $IP_FREEBIND, 1 ) or die "freebind: $!\n" if $options{spoof} && $family == AF_INET;
    setsockopt( $socket, $IPPROTO_IPV6, $IPV6_FREEBIND, 1 ) or die "freebind: $!\n" if $options{spoof} && $family == AF_INET6;
    bind( $socket, $options{from} ) or die "bind: $!\n" if $options{from};
    return $socket;
}

sub datagram {
    my ( $family, $target, %options ) = @_;
    return sub { send( open_socket( $family, SOCK_DGRAM, %options ), "the secret", 0, $target ) }
}

sub connection {
    my ( $family, $target, %options ) = @_;
    return sub { connect( open_socket( $family, SOCK_STREAM, %options ), $target ) }
}

for my $device ( undef, "eth0", "lo" ) {
    my $by = $device ? " by $device" : "";
    try( "TCP to a port without a rule$by", connection( AF_INET, to( $outside, 2222 ), device => $device ) );
    try( "TCP to 443$by",  connection( AF_INET, to( $outside, 443 ), device => $device ) );
    try( "UDP$by",  datagram( AF_INET, to( $outside, 9999 ), device => $device ) );
    try( "a question to a name server$by", datagram( AF_INET, to( $outside, 53 ), device => $device ) );
    try( "multicast$by", datagram( AF_INET, to( "239.1.2.3", 5000 ), device => $device ) );
    try( "local multicast$by", datagram( AF_INET, to( "224.0.0.251", 5353 ), device => $device ) );
    try( "broadcast$by", datagram( AF_INET, to( "255.255.255.255", 5000 ), device => $device, broadcast => 1 ) );
    try( "TCP over IPv6$by", connection( AF_INET6, to6( $outside6, 2222 ), device => $device ) );
    try( "UDP over IPv6$by", datagram( AF_INET6, to6( $outside6, 9999 ), device => $device ) );
    try( "multicast over IPv6$by", datagram( AF_INET6, to6( "ff02::1", 5000 ), device => $device ) );
}
try( "multicast from the pod's address", datagram( AF_INET, to( "239.1.2.3", 5000 ), from => to( $own, 0 ) ) );
try( "broadcast from the pod's address",
    datagram( AF_INET, to( "255.255.255.255", 5000 ), from => to( $own, 0 ), broadcast => 1 ) );

# The proxy, or the kernel, answers somebody who was not the one to ask.
my $question = pack( "nnnnnn", 7, 0x100, 1, 0, 0, 0 ) . "\x06secret\x04test\x00" . pack( "nn", 1, 1 );
for my $asked ( "127.0.0.1", $own, $outside ) {
    for my $port ( 53, 54 ) {
        try( "a question to $asked:$port in another's name", sub {
            send( open_socket( AF_INET, SOCK_DGRAM, from => to( "198.51.100.9", 4000 ), spoof => 1 ), $question, 0, to( $asked, $port ) );
        } );
    }
    try( "a connection to $asked in another's name", connection( AF_INET, to( $asked, 443 ), from => to( "198.51.100.9", 0 ), spoof => 1 ) );
    try( "a connection to $asked, no listener, in another's name",
        connection( AF_INET, to( $asked, 444 ), from => to( "198.51.100.9", 0 ), spoof => 1 ) );
}
try( "a question over IPv6 in another's name", sub {
    send( open_socket( AF_INET6, SOCK_DGRAM, from => to6( "2001:db8:77::9", 4000 ), spoof => 1 ), $question, 0, to6( "::1", 53 ) );
} );

# The kernel itself tells the network which groups its programs listen to.
try( "joining a group", sub {
    setsockopt( open_socket( AF_INET, SOCK_DGRAM ), 0, $IP_ADD_MEMBERSHIP, inet_aton("239.7.7.7") . inet_aton($own) );
} );
# The end of a connection outlives its socket.
try( "closing with data unread", sub {
    my $socket = open_socket( AF_INET, SOCK_STREAM, from => to( $own, 0 ) );
    connect( $socket, to( $outside, 80 ) ) or die "connect: $!\n";
    syswrite( $socket, "GET / HTTP/1.1\r\nhost: denied.test\r\n\r\n" );
    close $socket;
} );

# Another user's packets would pass.
for my $user ( 0, 10002 ) {
    $! = 0;
    local ( $<, $> ) = ( $user, $user );
    print "tried: to be user $user: ", ( $< == $user || $> == $user ? "done" : "refused" ), "\n";
}
try( "a raw socket", sub { socket( my $socket, AF_INET, SOCK_RAW, $UDP ) } );
