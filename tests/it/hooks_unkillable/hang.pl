# hang.pl DIRECTORY RELEASE: mounts a file system of its own on DIRECTORY (needs a mount namespace where that is allowed), and
# asks it for a file. The file system takes the question and does not answer, so that the kernel lets nothing end who asks, until
# RELEASE exists or its directory is gone.
use strict;
use warnings;
use File::Basename qw(dirname);
use POSIX qw(setsid);

use constant { INIT => 26, VERSION => 7, MINOR => 31 };

my ( $directory, $release ) = @ARGV;

# mount gets the descriptor.
$^F = 100;
open my $fuse, '+<', '/dev/fuse' or die "failed to open /dev/fuse: $!";
my $options = 'fd=' . fileno($fuse) . ',rootmode=40000,user_id=0,group_id=0';
system( 'mount', '-i', '-t', 'fuse', '-o', $options, 'hang', $directory ) == 0 or die 'failed to mount';

if ( fork() == 0 ) {
    # Who ends the group of the hook does not end this, and who reads its output does not wait for this.
    setsid();
    close STDOUT;
    close STDERR;
    while ( sysread $fuse, my $question, 1 << 20 ) {
        my ( undef, $what, $unique ) = unpack 'LLQ', $question;
        last if $what != INIT;
        my $answer = pack 'LLLLSSL', VERSION, MINOR, 0, 0, 0, 0, 4096;
        $answer .= "\0" x ( 64 - length $answer );
        syswrite $fuse, pack( 'LlQ', 16 + length $answer, 0, $unique ) . $answer;
    }
    select undef, undef, undef, 0.05 until -e $release || !-d dirname($release);
    exit;
}
close $fuse;
stat "$directory/file";
