from stepimp.commands import main

main()
