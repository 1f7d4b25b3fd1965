from halab.cli import main

main()
